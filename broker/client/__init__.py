"""What agencies and auditors import: publisher, subscriber, auditor."""
