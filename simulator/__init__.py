"""Simulated meters: they dial in, answer DLMS and hold a truth to check against. Never a head-end."""
