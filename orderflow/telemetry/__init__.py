"""Logs, traces, metrics and health: how a process says what it does. Imports nothing of ours."""
