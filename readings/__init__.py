"""Profile layouts, interval rows and register values: how readings come in, are kept and are handed out."""
