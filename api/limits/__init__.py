"""How much a caller may take: of requests, turns, handovers and declined payments."""
