"""Benchmarks, side by side with what a user would pick instead. Knows every package; no package knows it."""
