"""``orderflow doctor``: is everything there that OrderFlow needs, and as it should be; if not, what to do.

``checks/`` has a module for each dependency, and ``examine``, which runs them, each with a deadline of its own
(``check.py``). Nothing is changed.
"""
