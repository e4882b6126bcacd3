"""The business."""

from django.db import models


class Order(models.Model):
    """An order."""

    number = models.IntegerField(primary_key=True)


class Reservation(models.Model):
    """What is set aside for an order."""

    order = models.IntegerField()
