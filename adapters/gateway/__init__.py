"""The process between an agency's folders and a broker."""
