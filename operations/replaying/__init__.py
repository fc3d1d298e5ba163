"""Histories run again by the code on this machine: all of a query, a file's, or one under a debugger."""
