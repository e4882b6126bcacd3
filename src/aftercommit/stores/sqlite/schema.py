"""The columns of the tables, and how SQL shows a row: as the JSON that the record is decoded from."""

from typing import Final

from aftercommit.domain.lifecycle import LIVE, OPEN_DELIVERY, PARKED, Status
from aftercommit.domain.message import DueKind

CONTENT: Final = (
    "id",
    "content_type",
    "form",
    '"key"',
    "headers",
    "check_hint",
    "traceparent",
    "fingerprint",
    "payload",
)
TALLY: Final = ("app", "topic", "status", "count")

# Kinds of due times that are a message's own; the others are its delivery's.
_OF_MESSAGE: Final = f"({int(DueKind.CHECK)}, {int(DueKind.SEND)})"


def one_of(statuses: frozenset[Status]) -> str:
    """A list of statuses in SQL."""
    return f"({', '.join(sorted(repr(each.value) for each in statuses))})"


# The condition of the index message_trouble, which SQLite uses only where a query repeats it word by word.
IN_TROUBLE: Final = "IN ('undecided', 'undelivered', 'failed')"
TROUBLE: Final = frozenset({Status.UNDECIDED, Status.UNDELIVERED, Status.FAILED})
IN_LIVE: Final = f"IN {one_of(LIVE)}"
IN_LIVE_OR_PARKED: Final = f"IN {one_of(LIVE | PARKED)}"
IN_OPEN_DELIVERY: Final = f"IN {one_of(OPEN_DELIVERY)}"


def message_json(version: str) -> str:
    """The row `m` as the JSON of a `Message` whose version is the SQL expression `version`."""
    return f"""json_object(
        'id', m.id, 'app', m.app, 'topic', m.topic, 'status', m.status, 'version', {version},
        'prepared_at', m.prepared_at, 'deliver_at', m.deliver_at, 'confirmed_at', m.confirmed_at,
        'settled_at', m.settled_at, 'checks', m.checks, 'checked_at', m.checked_at, 'error', m.error,
        'resolved_by', m.resolved_by, 'replay_of', m.replay_of,
        'due', CASE WHEN m.due_kind IN {_OF_MESSAGE} THEN json_array(m.due_kind, m.due_lane, m.due_at) END,
        'deliveries', CASE
            WHEN m.subscription IS NOT NULL THEN json_array(json_object(
                'subscription', m.subscription, 'status', m.status, 'attempts', m.attempts, 'refusals', m.refusals,
                'sent_at', m.sent_at, 'pulled_at', m.pulled_at, 'settled_at', m.settled_at, 'error', m.delivery_error,
                'due', CASE WHEN m.due_kind NOT IN {_OF_MESSAGE}
                    THEN json_array(m.due_kind, m.due_lane, m.due_at) END))
            WHEN m.delivery_rows > 0 THEN json((SELECT json_group_array(json(record)) FROM (
                SELECT json_object(
                    'subscription', subscription, 'status', status, 'attempts', attempts, 'refusals', refusals,
                    'sent_at', sent_at, 'pulled_at', pulled_at, 'settled_at', settled_at, 'error', error,
                    'due', CASE WHEN due_at IS NOT NULL THEN json_array(due_kind, due_lane, due_at) END) AS record
                FROM delivery WHERE message_id = m.id ORDER BY position)))
            ELSE json_array() END)"""


EVENT_JSON: Final = """json_object(
    'message_id', message_id, 'at', at, 'event', event, 'status', status, 'attempt', attempt,
    'subscription', subscription, 'actor', actor, 'detail', detail)"""

# A row `c` of content without its bytes, and those bytes: many of them run together to be cut by their lengths.
CONTENT_JSON: Final = """json_array(
    c.id, c.content_type, c.form, c."key", json(c.headers), c.check_hint, c.traceparent,
    length(c.fingerprint), length(c.payload))"""
CONTENT_BYTES: Final = "CAST(c.fingerprint AS TEXT) || CAST(c.payload AS TEXT)"
