"""``orderflow doctor``: is everything there that OrderFlow needs, and as it should be; if not, what to do.

``examine`` runs them, each with a deadline of its own; a module a dependency. Nothing is changed.
"""
