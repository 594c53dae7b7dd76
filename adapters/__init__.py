"""Agency formats at the edge: each adapter is a pure function between bytes and records."""
