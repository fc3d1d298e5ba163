"""Comparing the databases, Temporal and the gateway: facts, the rules about them, and the safe repairs."""
