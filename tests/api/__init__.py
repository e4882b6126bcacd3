"""The HTTP API: judged from outside, as its callers meet it."""
