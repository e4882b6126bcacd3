"""`aftercommit demo`: three real processes, killed at random, whose books must agree in the end."""

from aftercommit.cli.demo.command import demo

__all__ = ["demo"]
