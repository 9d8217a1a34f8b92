"""REST of this app: meters, their types, commands and links."""
