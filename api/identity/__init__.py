"""Who calls, by API key or access token, and what they may do."""
