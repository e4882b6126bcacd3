"""Rows to records and records to rows."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Content, Delivery, Due, DueKind, Message, PayloadForm, TimelineEvent
from aftercommit.stores import columns
from aftercommit.stores.sql.session import Row

encode: Final = msgspec.json.encode
_decode_headers: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode
_KINDS: Final = {int(each): each for each in DueKind}
_STATUSES: Final = {each.value: each for each in Status}
# No text of PostgreSQL can hold the character NUL. Only what people wrote to be read by people is changed.
_NUL: Final = "\x00"
_SHOWN_NUL: Final = "\u2400"


def message(row: Row, apart: Sequence[Delivery], *, ahead: int) -> Message:
    """A message from the columns of `statements.MESSAGE` and its deliveries that are stored apart.

    Its version is the stored one plus `ahead`.
    """
    kind, lane, at = row[8], row[9], row[10]
    due = None if at is None else Due(_KINDS[kind], lane, at)
    status = _STATUSES[row[3]]
    deliveries = tuple(apart)
    if row[11] is not None:
        of_message = due is None or due.kind in columns.OF_MESSAGE
        deliveries = (
            Delivery(
                subscription=row[11],
                status=status,
                attempts=row[12],
                refusals=row[21],
                sent_at=row[13],
                pulled_at=row[14],
                settled_at=row[7],
                error=row[22],
                due=None if of_message else due,
            ),
        )
        due = due if of_message else None
    return Message(
        id=row[0],
        app=row[1],
        topic=row[2],
        status=status,
        version=row[4] + ahead,
        prepared_at=row[5],
        confirmed_at=row[6],
        settled_at=row[7],
        deliver_at=row[15],
        checks=row[16],
        checked_at=row[17],
        error=row[18],
        resolved_by=row[19],
        replay_of=row[20],
        due=due,
        deliveries=deliveries,
    )


def has_deliveries_apart(row: Row) -> bool:
    """Whether deliveries of this message are rows of their own."""
    return bool(row[23])


def delivery(row: Row) -> Delivery:
    """A delivery from `columns.DELIVERY`."""
    return Delivery(
        subscription=row[2],
        status=_STATUSES[row[3]],
        attempts=row[4],
        refusals=row[5],
        sent_at=row[6],
        pulled_at=row[7],
        settled_at=row[8],
        error=row[9],
        due=None if row[12] is None else Due(_KINDS[row[10]], row[11], row[12]),
    )


def content(row: Row) -> Content:
    """Content from `statements.CONTENT`."""
    return Content(
        content_type=row[1],
        form=PayloadForm(row[2]),
        key=row[3],
        headers=_decode_headers(row[4]),
        check_hint=None if row[5] is None else bytes(row[5]).decode(),
        traceparent=row[6],
        fingerprint=bytes(row[7]),
        payload=bytes(row[8]),
    )


def event(row: Row) -> TimelineEvent:
    """A line of a history from `columns.EVENT`."""
    return TimelineEvent(
        message_id=row[0],
        at=row[1],
        event=row[2],
        status=_STATUSES[row[3]],
        attempt=row[4],
        subscription=row[5],
        actor=row[6],
        detail=row[7],
    )


class MessageRows(NamedTuple):
    """The rows to write, by their ids: those whose unusual columns stay as they are have the values of
    `columns.USUAL` only, which is two thirds of the time; the others those of `statements.MESSAGE`.
    """

    usual: list[tuple[object, ...]]
    whole: list[tuple[object, ...]]


def message_rows(changed: Iterable[Message], stored: Mapping[str, Message]) -> MessageRows:
    """The rows of states in `changed` over those in `stored`."""
    rows = MessageRows([], [])
    for each in sorted(changed, key=attrgetter("id")):
        sole, known = columns.kept_inline(each), stored.get(each.id)
        rare = columns.rare_values(each, sole)
        if rare == (columns.NO_RARE if known is None else columns.rare_values(known, columns.kept_inline(known))):
            rows.usual.append(columns.usual_values(each, sole))
        else:
            rows.whole.append((*columns.usual_values(each, sole), *map(_readable, rare)))
    return rows


def delivery_rows(changed: Mapping[str, Message], stored: Mapping[str, Message]) -> list[tuple[object, ...]]:
    """The rows of deliveries to write."""
    rows: list[tuple[object, ...]] = []
    for message_id, each in changed.items():
        if each.deliveries and columns.kept_inline(each) is None:
            known = stored.get(message_id)
            apart = known if known is not None and columns.kept_inline(known) is None else None
            rows += (tuple(map(_readable, values)) for values in columns.changed_deliveries(each, apart))
    return rows


def moved_inline(changed: Mapping[str, Message], stored: Mapping[str, Message]) -> list[str]:
    """Messages whose sole delivery was a row of its own and is none any longer."""
    return [
        message_id
        for message_id, each in changed.items()
        if (known := stored.get(message_id)) is not None
        and known.deliveries
        and columns.kept_inline(known) is None
        and columns.kept_inline(each) is not None
    ]


def content_values(message_id: str, each: Content) -> tuple[object, ...]:
    """The values of `statements.CONTENT`."""
    return (
        message_id,
        each.content_type,
        str(each.form),
        each.key,
        encode(each.headers).decode() if each.headers else "[]",
        None if each.check_hint is None else each.check_hint.encode(),
        each.traceparent,
        each.fingerprint,
        each.payload,
    )


def event_rows(events: Iterable[TimelineEvent]) -> list[tuple[object, ...]]:
    """The values of `columns.EVENT`, in order."""
    return [
        (
            each.message_id,
            each.at,
            each.event,
            str(each.status),
            each.attempt,
            each.subscription,
            _readable(each.actor),
            _readable(each.detail),
        )
        for each in events
    ]


def _readable(value: object) -> object:
    return value.replace(_NUL, _SHOWN_NUL) if isinstance(value, str) else value
