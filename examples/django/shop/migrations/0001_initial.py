"""Orders and reservations."""

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """The first."""

    initial = True
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel("Order", [("number", models.IntegerField(primary_key=True, serialize=False))]),
        migrations.CreateModel(
            "Reservation", [("id", models.BigAutoField(primary_key=True)), ("order", models.IntegerField())]
        ),
    ]
