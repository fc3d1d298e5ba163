"""``orderflow order trace``: an order's traces, read from exported OTLP and drawn in the terminal."""
