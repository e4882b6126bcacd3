"""The steps of the schema in SQL, which Alembic runs; the rules for new ones are in this folder's README.md."""
