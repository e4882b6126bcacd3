"""Django: its tables, its transactions, its savepoints. Each database in a process of its own: settings are global."""
