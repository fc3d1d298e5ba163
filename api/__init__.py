"""The HTTP API: one request becomes one command or one read, and back. No business rule lives here."""
