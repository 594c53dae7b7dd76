"""The message log on Apache Kafka: many broker processes over one cluster. The only home of the Kafka client library."""
