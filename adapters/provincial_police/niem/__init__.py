"""Missing persons in NIEM, in XML and in JSON."""
