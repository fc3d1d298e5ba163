"""Postgres as a server: who is who in it, what each may do, how setup makes that so, and the pools of our processes."""
