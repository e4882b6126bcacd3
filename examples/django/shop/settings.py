"""Django's settings, as few as there can be."""

import os

# Nothing is signed with it here.
SECRET_KEY = "not a secret"  # noqa: S105 - as it says
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["shop", "aftercommit.sdk.django"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DATABASE", "shop.db"),
        # Wait for the other process's writes, and begin as a writer where something will be written.
        "OPTIONS": {"timeout": 5, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode = WAL"},
    }
}
AFTERCOMMIT_URL = os.environ.get("AFTERCOMMIT_URL", "http://127.0.0.1:8340")
