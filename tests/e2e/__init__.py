"""Tests of the whole program: a node started as users start it, spoken to over HTTP, killed and started again."""
