"""The SDK's Django application: its tables as a migration, and publishing inside somebody else's `atomic`.

INSTALLED_APPS += ["aftercommit.sdk.django"]
"""

from aftercommit.sdk.django.publishing import publish

__all__ = ["publish"]
