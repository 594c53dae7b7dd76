"""The national DNA database: STR profiles as CODIS CMF, as tables of GeneMapper and databases, and as NIEM has them.

Of ANSI/NIST-ITL packages it reads DNA records and INTERPOL's replies.
"""
