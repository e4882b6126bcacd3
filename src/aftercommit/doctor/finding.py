"""What was found, how bad it is, and what to do: the words that every check speaks in."""

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Level(StrEnum):
    """`error`: messages can be lost, or a node cannot work. `warning`: it works, until something else goes wrong."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Verdict(NamedTuple):
    """What a check says: one sentence of what was found, and one of what to do (empty where there is nothing)."""

    level: Level
    found: str
    advice: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict under the check's name, which stays the same from version to version: `postgresql.fsync`."""

    check: str
    level: Level
    found: str
    advice: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found. `reached`: whether the database and the broker could be spoken to at all."""

    findings: list[Finding]
    reached: bool = True

    @property
    def healthy(self) -> bool:
        """Whether nothing is an error."""
        return self.reached and all(each.level is not Level.ERROR for each in self.findings)

    def __add__(self, other: "Report") -> "Report":
        return Report(findings=self.findings + other.findings, reached=self.reached and other.reached)


def ok(found: str) -> Verdict:
    """All is well, or this is only good to know."""
    return Verdict(Level.OK, found)


def warning(found: str, advice: str) -> Verdict:
    """It works, until something else goes wrong."""
    return Verdict(Level.WARNING, found, advice)


def error(found: str, advice: str) -> Verdict:
    """Messages can be lost, or a node cannot work."""
    return Verdict(Level.ERROR, found, advice)


def named(family: str, check: str, verdict: Verdict) -> Finding:
    """The finding of a check, named for its family and its function."""
    return Finding(check=f"{family}.{check}", level=verdict.level, found=verdict.found, advice=verdict.advice)


def unreached(family: str, found: str, advice: str) -> Report:
    """The report of what could not be spoken to."""
    return Report(findings=[named(family, "connection", error(found, advice))], reached=False)
