-- The business table, and the outcome table of the barrier (aftercommit tables --dialect sqlite).
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS aftercommit_outcome (
    message_id VARCHAR(36) NOT NULL PRIMARY KEY,
    outcome VARCHAR(11) NOT NULL,
    at TIMESTAMP NOT NULL
);
