"""Keys, certificates and the directory: the broker's only home of ``cryptography``."""
