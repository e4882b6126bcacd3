"""The exit codes of every command, and how help tells of them."""

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """What a script may branch on."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5


EXIT_CODES_HELP: Final = """\b
Exit codes:
  0  done
  1  it failed, or something does not match
  2  the command was written wrongly
  3  no such message or topic
  4  the service refused (409, 422 ...)
  5  the service is unavailable or cannot be reached
"""
