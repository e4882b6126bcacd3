-- Times are milliseconds since 1970 UTC. app, topic and subscription hold ids of the catalogue tables.

-- What changes in a message's life: narrow, rewritten at every step. A message with one delivery, which is the rule,
-- keeps it in its own columns (subscription .. delivery_error; its status and settled_at are the message's, and the
-- kinds 3 to 5 of due_kind are its own). Otherwise subscription is NULL and delivery_rows says how many rows of the
-- table delivery are this message's.
CREATE TABLE message (
    id             TEXT    NOT NULL PRIMARY KEY,
    app            INTEGER NOT NULL,
    topic          INTEGER,
    status         TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    prepared_at    INTEGER NOT NULL,
    confirmed_at   INTEGER,
    settled_at     INTEGER,
    due_kind       INTEGER,
    due_lane       INTEGER,
    due_at         INTEGER,
    subscription   INTEGER,
    attempts       INTEGER NOT NULL DEFAULT 0,
    sent_at        INTEGER,
    pulled_at      INTEGER,
    deliver_at     INTEGER,
    checks         INTEGER NOT NULL DEFAULT 0,
    checked_at     INTEGER,
    error          TEXT,
    resolved_by    TEXT,
    replay_of      TEXT,
    refusals       INTEGER NOT NULL DEFAULT 0,
    delivery_error TEXT,
    delivery_rows  INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- The only index that moves with a message: work waiting for its time.
CREATE INDEX message_due ON message (due_kind, due_lane, due_at) WHERE due_at IS NOT NULL;
-- Lists, newest first, and the walk of retention, oldest first.
CREATE INDEX message_list ON message (prepared_at, id);
-- What operators look for among millions of others.
CREATE INDEX message_trouble ON message (status, prepared_at, id)
    WHERE status IN ('undecided', 'undelivered', 'failed');
CREATE INDEX message_replay ON message (replay_of) WHERE replay_of IS NOT NULL;

-- The deliveries of messages that have several, in the order the message has them.
CREATE TABLE delivery (
    message_id   TEXT    NOT NULL,
    position     INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    refusals     INTEGER NOT NULL,
    sent_at      INTEGER,
    pulled_at    INTEGER,
    settled_at   INTEGER,
    error        TEXT,
    due_kind     INTEGER,
    due_lane     INTEGER,
    due_at       INTEGER,
    PRIMARY KEY (message_id, position)
) WITHOUT ROWID;

CREATE INDEX delivery_due ON delivery (due_kind, due_lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_open ON delivery (subscription) WHERE status IN ('pending_send', 'sent', 'undelivered');

-- What never changes. Not WITHOUT ROWID: payloads of a page or more would fill such a table with overflow pages.
CREATE TABLE content (
    id           TEXT NOT NULL PRIMARY KEY,
    content_type TEXT NOT NULL,
    form         TEXT NOT NULL,
    "key"        TEXT,
    headers      TEXT NOT NULL,
    check_hint   TEXT,
    traceparent  TEXT,
    fingerprint  BLOB NOT NULL,
    payload      BLOB NOT NULL
);

-- The history of a message that its own columns do not tell; in the order of number.
CREATE TABLE event (
    number       INTEGER PRIMARY KEY,
    message_id   TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    event        TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    attempt      INTEGER,
    subscription INTEGER,
    actor        TEXT,
    detail       TEXT
);

CREATE INDEX event_message ON event (message_id);

-- How many messages there are, kept in the same transactions, so that nobody ever counts rows. topic 0: tombstones.
CREATE TABLE tally (
    app    INTEGER NOT NULL,
    topic  INTEGER NOT NULL,
    status TEXT    NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (app, topic, status)
) WITHOUT ROWID;

-- The catalogue. Rows are never removed: old messages keep the names. secrets, policy and destination are JSON.
CREATE TABLE app (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    check_url    TEXT,
    check_signed INTEGER NOT NULL,
    secrets      TEXT    NOT NULL
);

CREATE TABLE topic (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    app         INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    policy      TEXT    NOT NULL,
    destination TEXT,
    paused_at   INTEGER,
    removed_at  INTEGER
);

CREATE TABLE subscription (
    id         INTEGER PRIMARY KEY,
    topic      INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    app        INTEGER NOT NULL,
    implicit   INTEGER NOT NULL,
    push_url   TEXT,
    report     TEXT,
    policy     TEXT    NOT NULL,
    removed_at INTEGER
);

-- Single facts: the next id of the catalogue, and a row that readiness writes to see that writing works.
CREATE TABLE fact (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO fact (name, value) VALUES ('next_id', 1), ('pings', 0);
