"""How an initiator is asked what became of its local transaction."""
