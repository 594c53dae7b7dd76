"""The error on the way to a running cluster. Its message says what to do."""

from __future__ import annotations


class KafkaFailed(Exception):
    """Kafka cannot be fetched or started, or was not ready in time. The message gives the reason and what to do."""
