"""Placing orders."""

import json

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from aftercommit.sdk import Client
from shop.models import Order

client = Client(settings.AFTERCOMMIT_URL, app="orders")


@csrf_exempt
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    """Write the order and publish it, both or neither."""
    number = json.loads(request.body)["number"]
    with client.transaction(connection) as tx:
        Order.objects.create(number=number)
        tx.publish("orders.created", {"order": number}, key=str(number))
    return JsonResponse({"number": number}, status=201)
