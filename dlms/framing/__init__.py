"""Framing layers: octets of a link in, whole frames out. Imports nothing of dlms but its errors (the gateway loads this)."""
