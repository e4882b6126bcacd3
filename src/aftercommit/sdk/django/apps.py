"""How Django knows the application."""

from django.apps import AppConfig


class AfterCommitConfig(AppConfig):
    """Label `aftercommit`; it has no models, only tables."""

    name = "aftercommit.sdk.django"
    label = "aftercommit"
    verbose_name = "AfterCommit"
