"""The parts of every program at an agency's edge: profile, trust, spool, and the routing of records."""
