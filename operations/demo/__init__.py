"""``orderflow demo``: real baskets through the whole stack, and a check that everything that was written agrees.

``plan`` says which basket has which fate; ``run`` takes the orders through their lives, and ``follower`` reads from the
stream how far they are; ``rest`` waits until nothing moves, ``evidence`` reads what was left behind, ``check`` compares
it (``check_stream``, ``check_books``), ``measure`` counts; ``whole`` is the order of work. What it looks like is in
``cli/``.
"""
