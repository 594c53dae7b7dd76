"""The message log on Apache Kafka: many broker processes on one cluster. Only this package uses the client library."""
