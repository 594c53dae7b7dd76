"""Keys, certificates and the directory. In the broker, only this package uses ``cryptography``."""
