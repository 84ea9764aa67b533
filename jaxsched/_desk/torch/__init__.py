"""Schedulers of torch, live or saved, without importing torch."""
