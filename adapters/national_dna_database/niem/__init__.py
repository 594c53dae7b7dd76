"""DNA profiles as NIEM has them."""
