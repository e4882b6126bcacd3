"""Where messages are kept: one implementation of the store port for each database."""
