"""What stands between an adapter and the exchange: judging records, cutting them into sections, joining them."""
