"""Use cases over the ports: one file per sentence of the protocol. No I/O of their own, no clock, no chance."""

from aftercommit.service.node import Services

__all__ = ["Services"]
