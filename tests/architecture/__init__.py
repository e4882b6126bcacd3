"""Tests that read the source tree instead of running it."""
