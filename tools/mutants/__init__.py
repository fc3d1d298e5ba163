"""Planted bugs: each breaks one guarantee, and named tests must notice."""
