"""What every HTTP server of ours bounds: connections, heads, bodies and time, and who is at the other end."""
