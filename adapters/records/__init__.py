"""The steps between an adapter and the exchange: check records, cut them into sections, join the sections."""
