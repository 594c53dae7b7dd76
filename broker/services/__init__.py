"""What the broker does: one class each, over the core and the ports only."""
