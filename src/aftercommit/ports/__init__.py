"""What the services need from the outside world, as Protocols whose docstrings are contracts."""
