"""Cases as NamUs's web service returns them."""
