"""The national DNA database: STR profiles in CODIS CMF, in tables of GeneMapper and of databases, and in NIEM.

It also reads DNA records and INTERPOL's replies in ANSI/NIST-ITL packages.
"""
