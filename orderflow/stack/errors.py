"""What the embedded stack says when it cannot go on: one sentence a person can act on."""


class StackError(Exception):
    """The stack could not do what was asked. The message is meant for the terminal, without a traceback."""
