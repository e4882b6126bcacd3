"""The local transaction, the barrier, the binding, the outbox and the inbox."""
