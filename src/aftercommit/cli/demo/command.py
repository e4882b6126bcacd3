"""`aftercommit demo`."""

import random

import click


@click.command()
@click.option("--orders", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Orders to place.")
@click.option("--seed", type=int, help="Makes the mishaps and the kills; the same seed, the same ones.  [default: any]")
@click.option("--no-chaos", is_flag=True, help="Kill nobody; confirms still get lost and orders still roll back.")
@click.option("--json", "as_json", is_flag=True, help="Print nothing but one JSON document at the end.")
def demo(orders: int, seed: int | None, no_chaos: bool, as_json: bool) -> None:
    """Watch it survive: orders flow while everything is killed, and then the books are compared.

    Starts a node, an order service and a stock service as processes of their own, in a temporary directory and on free
    loopback ports; kills each of them at random with kill -9 while orders are placed; loses confirms on purpose; then
    holds the databases of all three against each other. Ends with 1 if a single order does not match. Leaves nothing
    behind.
    """
    # Imported here, because the command line must also answer --help fast.
    from aftercommit.cli.demo.show import show

    chosen = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    if not show(orders=orders, seed=chosen, chaos=not no_chaos, as_json=as_json):
        raise SystemExit(1)
