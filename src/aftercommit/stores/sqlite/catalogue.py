"""The catalogue's tables, and what messages say to its edits."""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from aftercommit.domain.catalog import App, Catalog, CatalogEdit, Subscription, Topic
from aftercommit.domain.errors import Conflict, Inconsistency
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import DueKind
from aftercommit.domain.operation import dropped
from aftercommit.domain.step import Context
from aftercommit.stores.fold import Fold
from aftercommit.stores.sqlite import rows, schema
from aftercommit.stores.sqlite.fold import load_into, write_changes

# Open deliveries of a dropped subscription that are discarded together.
_DISCARDED_AT_ONCE: Final = 500

_APPS: Final = """
    SELECT json_group_array(json_object(
        'id', id, 'name', name, 'created_at', created_at, 'check_url', check_url,
        'check_signed', json(iif(check_signed, 'true', 'false')), 'secrets', json(secrets))) FROM app"""
_TOPICS: Final = """
    SELECT json_group_array(json_object(
        'id', id, 'name', name, 'app', app, 'created_at', created_at, 'policy', json(policy),
        'destination', json(destination), 'paused_at', paused_at, 'removed_at', removed_at)) FROM topic"""
_SUBSCRIPTIONS: Final = """
    SELECT json_group_array(json_object(
        'id', id, 'topic', topic, 'name', name, 'app', app, 'implicit', json(iif(implicit, 'true', 'false')),
        'push_url', push_url, 'report', report, 'policy', json(policy), 'removed_at', removed_at)) FROM subscription"""
_decode_apps: Final = msgspec.json.Decoder(list[App]).decode
_decode_topics: Final = msgspec.json.Decoder(list[Topic]).decode
_decode_subscriptions: Final = msgspec.json.Decoder(list[Subscription]).decode

_PUT_APP: Final = "INSERT OR REPLACE INTO app VALUES (?, ?, ?, ?, ?, ?)"
_PUT_TOPIC: Final = "INSERT OR REPLACE INTO topic VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_SUBSCRIPTION: Final = "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

# A delivery that is open waits to be sent with its message, waits for its report, or is given up: each has its index.
# ?1: subscriptions, ?2: their topics, both as JSON.
_OPEN: Final = f"""
    SELECT json_group_array(id) FROM (
        SELECT id FROM message WHERE due_kind = {int(DueKind.SEND)} AND due_at IS NOT NULL
            AND due_lane IN (SELECT value FROM json_each(?2)) AND subscription IN (SELECT value FROM json_each(?1))
        UNION
        SELECT id FROM message WHERE due_at IS NOT NULL
            AND due_kind IN ({int(DueKind.PULL)}, {int(DueKind.REDELIVER)}, {int(DueKind.EXPIRE)})
            AND due_lane IN (SELECT value FROM json_each(?1))
        UNION
        SELECT id FROM message WHERE status {schema.IN_TROUBLE} AND status = '{Status.UNDELIVERED.value}'
            AND subscription IN (SELECT value FROM json_each(?1))
        UNION
        SELECT message_id FROM delivery
        WHERE status {schema.IN_OPEN_DELIVERY} AND subscription IN (SELECT value FROM json_each(?1))
        LIMIT {_DISCARDED_AT_ONCE})"""
_UNSETTLED: Final = f"SELECT sum(count) FROM tally WHERE topic = ? AND status {schema.IN_LIVE_OR_PARKED}"


def load(connection: sqlite3.Connection) -> Catalog:
    """The catalogue as it is stored."""
    [apps] = connection.execute(_APPS).fetchone()
    [topics] = connection.execute(_TOPICS).fetchone()
    [subscriptions] = connection.execute(_SUBSCRIPTIONS).fetchone()
    [next_id] = connection.execute("SELECT value FROM fact WHERE name = 'next_id'").fetchone()
    return Catalog.of(
        _decode_apps(apps),
        [replace(each, policy=_frozen(each.policy)) for each in _decode_topics(topics)],
        [replace(each, policy=_frozen(each.policy)) for each in _decode_subscriptions(subscriptions)],
        next_id,
    )


def apply(connection: sqlite3.Connection, before: Catalog, edit: CatalogEdit, context: Context) -> None:
    """Keep an edit, or raise `Conflict` where messages are in the way. `context` has the edited catalogue."""
    for topic in edit.removed_topics:
        [unsettled] = connection.execute(_UNSETTLED, (topic,)).fetchone()
        if unsettled:
            name = edit.catalog.topics[topic].name
            raise Conflict("topic_in_use", f"Topic {name!r} still has {unsettled} messages that are not settled.")
    if edit.force:
        _discard_open_deliveries(connection, edit.dropped_subscriptions, context)
    for subscription in edit.dropped_subscriptions:
        if _open_deliveries(connection, [subscription], context):
            name = edit.catalog.subscriptions[subscription].name
            raise Conflict("subscription_in_use", f"Subscription {name!r} still has open deliveries.")
    _save(connection, before, edit.catalog)


def _discard_open_deliveries(connection: sqlite3.Connection, subscriptions: Sequence[int], context: Context) -> None:
    # Some messages at a time, so that a million of them need no more memory; each message is written once.
    while ids := _open_deliveries(connection, subscriptions, context):
        folded = Fold(context)
        load_into(connection, folded, ids)
        outcomes = [folded.apply(dropped(each, subscription)) for subscription in subscriptions for each in ids]
        if not any(each.changed for each in outcomes):
            raise Inconsistency(f"Open deliveries of {len(ids)} messages cannot be discarded, {ids[0]} the first.")
        write_changes(connection, folded.changes)


def _open_deliveries(connection: sqlite3.Connection, subscriptions: Sequence[int], context: Context) -> list[str]:
    """Some of the messages with an open delivery of these subscriptions."""
    topics = {context.catalog.subscriptions[each].topic for each in subscriptions}
    values = (rows.encode(subscriptions).decode(), rows.encode(topics).decode())
    [found] = connection.execute(_OPEN, values).fetchone()
    return rows.decode_ids(found)


def _save(connection: sqlite3.Connection, before: Catalog, after: Catalog) -> None:
    for app in after.apps.values():
        if before.apps.get(app.id) != app:
            secrets = rows.encode(app.secrets).decode()
            row = (app.id, app.name, app.created_at, app.check_url, app.check_signed, secrets)
            connection.execute(_PUT_APP, row)
    for topic in after.topics.values():
        if before.topics.get(topic.id) != topic:
            connection.execute(_PUT_TOPIC, _topic_row(topic))
    for each in after.subscriptions.values():
        if before.subscriptions.get(each.id) != each:
            connection.execute(_PUT_SUBSCRIPTION, _subscription_row(each))
    connection.execute("UPDATE fact SET value = ? WHERE name = 'next_id'", (after.next_id,))


def _frozen(policy: dict[str, object]) -> dict[str, object]:
    """A policy as it was before JSON made lists of its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in policy.items()}


def _topic_row(topic: Topic) -> tuple[object, ...]:
    destination = None if topic.destination is None else rows.encode(topic.destination).decode()
    return (
        topic.id,
        topic.name,
        topic.app,
        topic.created_at,
        rows.encode(topic.policy).decode(),
        destination,
        topic.paused_at,
        topic.removed_at,
    )


def _subscription_row(subscription: Subscription) -> tuple[object, ...]:
    return (
        subscription.id,
        subscription.topic,
        subscription.name,
        subscription.app,
        subscription.implicit,
        subscription.push_url,
        subscription.report,
        rows.encode(subscription.policy).decode(),
        subscription.removed_at,
    )
