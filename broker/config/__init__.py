"""Configuration files: every key with a unit, a default and bounds. The only reader of the environment."""
