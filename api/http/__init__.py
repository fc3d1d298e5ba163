"""What every route shares of HTTP: bodies, headers, methods, the prefix, problems, and what is said of each request."""
