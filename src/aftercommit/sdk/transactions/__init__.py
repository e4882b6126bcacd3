"""Local transactions that publish: their order, their retries, and what becomes of them when a step fails."""
