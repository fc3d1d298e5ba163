"""What an order waits for, and what to do: gathering facts, judging them, showing them, each apart from the others."""
