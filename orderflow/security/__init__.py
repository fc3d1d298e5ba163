"""Keys, secrets and certificates: how they are made, kept in files, read again when they change, and believed."""
