"""Judge a replay offline, without trusting the broker: verification.py judges a bundle frame by frame."""
