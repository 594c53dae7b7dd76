"""The message log on Apache Kafka: many broker processes over one cluster. The client library's only home."""
