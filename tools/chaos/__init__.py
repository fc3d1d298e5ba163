"""The fault storm: orders under load while everything is broken by a seed, and rules that must hold after it."""
