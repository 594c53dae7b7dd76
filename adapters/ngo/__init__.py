"""Non-governmental organisations: missing persons in PFIF and NamUs's JSON; workbooks of searches for family."""
