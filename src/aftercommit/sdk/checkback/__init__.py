"""Answering the service when it asks what became of local transactions: called over HTTP, or fetching the questions."""
