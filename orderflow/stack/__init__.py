"""The embedded stack: real Postgres, Temporal and a Kafka-protocol broker from Python packages, for development
and tests. No Docker, no account; everything listens on loopback."""
