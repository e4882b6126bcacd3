"""Tests of what is peculiar to one store; what every store must do is in tests/conformance."""
