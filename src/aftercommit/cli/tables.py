"""`aftercommit tables`: what the SDK needs in a database of the user's, as SQL."""

import click

from aftercommit.sdk.tables import ddl

_NAMES = ("outcome", "inbox", "outbox")


@click.command()
@click.option(
    "--dialect",
    type=click.Choice(["postgresql", "mysql", "mariadb", "sqlite"]),
    required=True,
    help="Which database they are for.",
)
@click.option(
    "--only",
    type=click.Choice(_NAMES),
    multiple=True,
    help="Print this table only; may be given again. An initiator needs outcome, a consumer inbox.",
)
def tables(dialect: str, only: tuple[str, ...]) -> None:
    """Print the SDK's tables for your own database.

    Nothing is created: run it, or put it into a migration.
    """
    wanted = {name: name in only or not only for name in _NAMES}
    click.echo("\n\n".join(f"{statement};" for statement in ddl(dialect, **wanted)))
