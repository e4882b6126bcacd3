"""The consumer. Run it with `aftercommit worker shop.consumers:consumer`."""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from django.conf import settings  # noqa: E402 - only after setup
from django.db import connection  # noqa: E402

from aftercommit.sdk import Client, Consumer, Delivery  # noqa: E402
from shop.models import Reservation  # noqa: E402

consumer = Consumer(Client(settings.AFTERCOMMIT_URL, app="stock"), connection)


@consumer.on("orders.created", subscription="stock", concurrency=1)
def reserve(delivery: Delivery, _tx: Any) -> None:
    """Set the goods aside: once, however often the message comes."""
    Reservation.objects.create(order=delivery.json()["order"])
