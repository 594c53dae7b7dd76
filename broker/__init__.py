"""case-exchange's broker: it checks, sequences and relays signed records that it cannot read."""
