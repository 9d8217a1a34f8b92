"""REST of this app: profiles and latest values."""
