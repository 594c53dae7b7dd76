"""The client library for agencies and auditors: publisher, subscriber, auditor."""
