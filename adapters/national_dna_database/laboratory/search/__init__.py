"""The reference laboratory's search: profiles in SQLite, an index in memory, results that state their basis."""
