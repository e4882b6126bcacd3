"""Measurements, not tests: `make bench` prints one table."""
