"""REST of this app: events."""
