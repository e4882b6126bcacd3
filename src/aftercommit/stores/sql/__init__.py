"""Messages in PostgreSQL, MySQL or MariaDB: one store, any number of nodes."""
