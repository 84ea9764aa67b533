"""Logs of learning rates: their files, their columns, the counts of their rows."""
