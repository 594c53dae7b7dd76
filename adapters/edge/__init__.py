"""What every program at an agency's edge shares: its profile, its trust, its spool, and where its records go."""
