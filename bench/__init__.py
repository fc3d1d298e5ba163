"""``make bench``: a complete real order against a workflow of the same shape that does nothing."""
