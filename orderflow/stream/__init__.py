"""The stream: what the outboxes hold goes to Kafka, what Kafka has is read, tracked, compared and repaired."""
