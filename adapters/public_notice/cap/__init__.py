"""Alerts of the Common Alerting Protocol 1.2."""
