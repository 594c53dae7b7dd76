"""The book of one durable subscription: who may have which record, until when, and what is done (lease.py)."""
