"""Reading what an initiator answered. Whatever is not exactly the agreed shape is `unknown`, never a guess."""

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from aftercommit.domain.commands import CheckOutcome
from aftercommit.ports.checkback import Question, Verdict

_OUTCOMES: Final[dict[str, CheckOutcome]] = {each.value: each for each in CheckOutcome}


class Unusable(Exception):
    """The whole answer counts for nothing. The text is a few words of our own, nothing of the answer's."""


class _Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    outcome: str


class _Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    results: list[_Result]


def read_results(body: bytes, questions: Sequence[Question]) -> list[Verdict]:
    """One verdict per question, in the order asked. Raises `Unusable` unless `body` is exactly `wire.CheckResults`.

    A question without an answer, with two different ones, or with a word that is no outcome, is unknown; answers to
    what was not asked are ignored.
    """
    said: dict[str, set[str]] = {}
    for result in _strictly(body).results:
        said.setdefault(result.id, set()).add(result.outcome)
    return [_verdict(question.id, said.get(question.id, set())) for question in questions]


def unknown(questions: Sequence[Question], detail: str, *, made: bool) -> list[Verdict]:
    """The same for every question: we do not know, because of `detail`."""
    return [Verdict(id=each.id, outcome=CheckOutcome.UNKNOWN, made=made, detail=detail) for each in questions]


def _verdict(message_id: str, said: set[str]) -> Verdict:
    if len(said) == 1:
        [word] = said
        outcome = _OUTCOMES.get(word)
        if outcome is None:
            return _unknown(message_id, "the outcome is no word of the protocol")
        if outcome is CheckOutcome.UNKNOWN:
            return _unknown(message_id, "the initiator answered unknown")
        return Verdict(id=message_id, outcome=outcome, made=True)
    return _unknown(message_id, "the answer contradicts itself" if said else "the answer leaves it out")


def _unknown(message_id: str, detail: str) -> Verdict:
    return Verdict(id=message_id, outcome=CheckOutcome.UNKNOWN, made=True, detail=detail)


def _strictly(body: bytes) -> _Results:
    # The standard library's parser, because it shows repeated keys: of two outcomes, which would be the right one?
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_members, parse_constant=_refuse_constant)
        return msgspec.convert(value, _Results)
    except UnicodeDecodeError:
        raise Unusable("the answer is not UTF-8") from None
    except msgspec.ValidationError:
        raise Unusable("the answer has another shape") from None
    except (ValueError, RecursionError):
        raise Unusable("the answer is not JSON") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("A key stands twice.")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON.")
