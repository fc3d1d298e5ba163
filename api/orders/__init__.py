"""Orders over HTTP: the routes, the way of a command, and what is answered."""
