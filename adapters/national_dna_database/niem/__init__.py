"""DNA profiles in NIEM."""
