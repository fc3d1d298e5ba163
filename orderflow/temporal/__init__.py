"""Temporal: connecting, what travels, our errors as its own, and the one facade to the orders that run in it."""
