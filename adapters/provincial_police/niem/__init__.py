"""Missing persons as NIEM has them, in XML and in JSON."""
