"""Meters, their types, credentials, reading plans, commands, links: what the utility knows and orders."""
