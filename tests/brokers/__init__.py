"""The brokers outside: how each behaves when its server does not."""
