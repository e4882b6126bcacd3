"""Two addresses: ours, and the one at which the service asks."""

from django.db import connection
from django.urls import path

from aftercommit.sdk import Barrier, CheckResponder
from aftercommit.sdk.checkback.django import check_view
from shop.views import place_order

# A node without keys asks unsigned; elsewhere: secrets=[settings.AFTERCOMMIT_SECRET].
responder = CheckResponder(Barrier(connection), secrets=())

urlpatterns = [
    path("orders", place_order),
    path("aftercommit/checks", check_view(responder)),
]
