"""``orderflow demo``: real baskets through the whole stack, and a check that everything that was written agrees.

``plan`` says which basket has which fate, ``run`` and ``follower`` let it happen, ``evidence`` reads what it left
behind, ``check`` compares, ``measure`` counts, ``report`` tells; ``command`` puts them together.
"""
