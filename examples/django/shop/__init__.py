"""A shop: orders on one side, reservations on the other."""
