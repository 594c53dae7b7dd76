"""What can go wrong on the way to a running cluster, said so that whoever reads it knows what to do."""

from __future__ import annotations


class KafkaFailed(Exception):
    """Kafka cannot be fetched, started, or did not become ready in time. The message says why and what to do."""
