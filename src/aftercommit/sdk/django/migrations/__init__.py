"""The tables, for `manage.py migrate`, on every database whose router allows it."""
