"""What the broker does, one class for each service. Only the core and the ports are used."""
