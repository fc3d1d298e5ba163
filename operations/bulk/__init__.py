"""Many orders and many SKUs at once, from files."""
