"""Event logs of the meters and the code tables that give their entries a meaning."""
