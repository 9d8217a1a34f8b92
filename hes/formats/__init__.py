"""How times are shown: ISO order, 24 hours, always UTC."""
