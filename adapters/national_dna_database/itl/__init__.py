"""ANSI/NIST-ITL packages: DNA records, and INTERPOL's replies."""
