"""An initiator: Flask and SQLAlchemy on SQLite.

pip install 'aftercommit[flask,sqlalchemy]'
flask --app orders run --port 9000
flask --app orders register http://127.0.0.1:9000      # once: tells the service where to ask
curl -X POST localhost:9000/orders -H 'content-type: application/json' -d '{"number": 42}'
"""

import os
from typing import Any

import click
from flask import Flask, request
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from aftercommit.sdk import Barrier, CheckResponder, Client, tables
from aftercommit.sdk.checkback.flask import check_blueprint
from aftercommit.wire import SubscriptionRequest


class Base(DeclarativeBase):
    """Our tables, and beside them the SDK's."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


tables.declare(Base.metadata, inbox=False, outbox=False)
engine = create_engine(os.environ.get("ORDERS_DATABASE", "sqlite:///orders.db"))
Session = sessionmaker(engine)
# A real service makes its tables with migrations.
Base.metadata.create_all(engine)

client = Client(os.environ.get("AFTERCOMMIT_URL", "http://127.0.0.1:8340"), app="orders")
app = Flask(__name__)
# A node without keys asks unsigned; elsewhere: secrets=[os.environ["AFTERCOMMIT_SECRET"]].
app.register_blueprint(check_blueprint(CheckResponder(Barrier(engine), secrets=())))


@app.post("/orders")
def place_order() -> tuple[dict[str, Any], int]:
    """Write the order and publish it, both or neither."""
    number = request.get_json()["number"]
    with Session() as session, client.transaction(session) as tx:
        session.add(Order(number=number))
        tx.publish("orders.created", {"order": number}, key=str(number))
    return {"number": number}, 201


@app.cli.command("register")
@click.argument("own_url")
def register(own_url: str) -> None:
    """Make the topic, and tell the service where this application answers check-backs."""
    client.put_topic("orders.created", subscriptions=[SubscriptionRequest(name="stock", app="stock")])
    client.put_app("orders", check_url=f"{own_url}/aftercommit/checks")
