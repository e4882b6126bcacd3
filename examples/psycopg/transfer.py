"""A script without any framework: moves money between two accounts, and publishes that it did.

pip install 'aftercommit[postgres]'
python transfer.py setup                     # once: tables, two accounts with 100 each, the topic
python transfer.py move alice bob 30
python transfer.py answer-checks             # in the background: fetches check-backs, for nobody can call a script
"""

import os
import sys

import psycopg

from aftercommit.sdk import Barrier, Client, PullResponder, tables
from aftercommit.wire import SubscriptionRequest

DSN = os.environ.get("BANK_DATABASE", "postgresql://localhost/bank")
TOPIC = "money.moved"

client = Client(os.environ.get("AFTERCOMMIT_URL", "http://127.0.0.1:8340"), app="bank")


class NotEnough(Exception):
    """The account does not hold that much."""


def setup() -> None:
    """Make everything there has to be."""
    with psycopg.connect(DSN) as connection:
        for statement in tables.ddl("postgresql", inbox=False, outbox=False):
            connection.execute(statement.encode())
        connection.execute("CREATE TABLE account (name text PRIMARY KEY, amount integer NOT NULL)")
        connection.execute("INSERT INTO account VALUES ('alice', 100), ('bob', 100)")
    client.put_topic(TOPIC, subscriptions=[SubscriptionRequest(name="mails", app="mails")])


def move(source: str, target: str, amount: int) -> str:
    """Move money; the id of the message that says so."""
    with psycopg.connect(DSN) as connection, client.transaction(connection) as tx:
        taken = connection.execute(
            "UPDATE account SET amount = amount - %s WHERE name = %s AND amount >= %s", [amount, source, amount]
        )
        if taken.rowcount == 0:
            raise NotEnough(f"{source} does not have {amount}.")
        connection.execute("UPDATE account SET amount = amount + %s WHERE name = %s", [amount, target])
        return tx.publish(TOPIC, {"from": source, "to": target, "amount": amount}, key=source)


def answer_checks() -> None:
    """Answer what the service asks, until it is stopped."""
    PullResponder(client, Barrier(lambda: psycopg.connect(DSN)), app="bank").run()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["setup"]:
            setup()
        case ["move", source, target, amount]:
            print(move(source, target, int(amount)))
        case ["answer-checks"]:
            answer_checks()
        case _:
            sys.exit(__doc__)
