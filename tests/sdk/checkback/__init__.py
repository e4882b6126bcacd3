"""Answering checks: the responder, its adapters, and pulling."""
