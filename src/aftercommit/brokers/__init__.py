"""Where messages are published: one implementation of the broker port for each broker."""
