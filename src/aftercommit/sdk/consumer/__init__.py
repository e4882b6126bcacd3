"""Consuming: handlers by decorator, and what brings deliveries to them (pulling, HTTP push, FastStream)."""
