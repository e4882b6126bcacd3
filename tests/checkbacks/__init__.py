"""Asking initiators, well-behaved and otherwise."""
