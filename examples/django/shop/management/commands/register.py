"""`manage.py register http://127.0.0.1:9000`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from aftercommit.wire import SubscriptionRequest
from shop.views import client


class Command(BaseCommand):
    """Make the topic, and tell the service where this application answers check-backs."""

    def add_arguments(self, parser: CommandParser) -> None:
        """The address of this application, as the service reaches it."""
        parser.add_argument("own_url")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        """Do it."""
        client.put_topic("orders.created", subscriptions=[SubscriptionRequest(name="stock", app="stock")])
        client.put_app("orders", check_url=f"{options['own_url']}/aftercommit/checks")
