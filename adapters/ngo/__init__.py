"""Non-governmental organisations: missing persons as PFIF and NamUs's JSON; workbooks of searches for kin."""
