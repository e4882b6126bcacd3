"""AfterCommit: a message is delivered if, and only if, the local transaction committed.

This package imports nothing by itself, so that a client pays only for the parts it names.
"""

__version__ = "0.1.0"
