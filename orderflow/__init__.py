"""OrderFlow: orders as Temporal workflows, with one event stream on Kafka."""
