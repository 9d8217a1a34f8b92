"""Framing layers: octets of a link in, whole frames out. Imports only the errors of dlms."""
