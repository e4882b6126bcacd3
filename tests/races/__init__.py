"""The barrier under fire: local transactions in real processes, raced by checks, on real databases, and judged."""
