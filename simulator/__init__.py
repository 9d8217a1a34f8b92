"""Simulated meters: they dial in, answer DLMS and hold a truth to check against. A meter, never a head-end."""
