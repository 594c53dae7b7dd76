"""A real Apache Kafka cluster for development, tests and CI: its settings, its processes, its rules."""
