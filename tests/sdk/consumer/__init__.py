"""Consumers: handlers, what brings deliveries to them, and what becomes of each."""
