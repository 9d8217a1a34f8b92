"""Framing layers: octets of a link in, whole frames out. Imports of dlms its errors only: the gateway loads it."""
