"""What OrderFlow tells the world: event models, their envelope on Kafka, and a kit to consume them."""
