"""Meters, their types, credentials, reading plans, commands and links: what the utility knows and what it orders."""
