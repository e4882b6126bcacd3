"""The HTTP interface: routes, authentication and problem documents."""
