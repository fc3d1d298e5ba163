"""The golden histories: recording them, and where they are."""
