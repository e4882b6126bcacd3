"""The demo from the first line it prints to the last."""

from collections.abc import Mapping

import click
import msgspec
from rich.console import Console

from aftercommit.cli.demo import chance, report
from aftercommit.cli.demo.audience import Nobody, audience_for
from aftercommit.cli.demo.performance import Outcome, Performance
from aftercommit.cli.demo.processes import raise_on_signals
from aftercommit.cli.demo.scene import VICTIMS
from aftercommit.cli.demo.stage import DemoFailed, Stage


def show(
    *, orders: int, seed: int, chaos: bool, as_json: bool = False, modules: Mapping[str, str] | None = None
) -> bool:
    """Play it. Says whether the books match. `modules` replaces programs of the demo, for tests."""
    console = Console(quiet=as_json, highlight=False)
    console.print(f"{orders} orders, seed {seed}" + ("" if chaos else ", nobody is killed"))
    audience = Nobody() if as_json else audience_for(console, orders)
    kills = chance.kills(seed, orders, VICTIMS) if chaos else []
    raise_on_signals()
    try:
        with audience.watching(), Stage(orders=orders, seed=seed, modules=modules) as stage:
            outcome = Performance(stage, kills, audience).run()
    except DemoFailed as failure:
        raise click.ClickException(f"{failure}\nRepeat it with --orders {orders} --seed {seed}.") from failure
    if as_json:
        click.echo(msgspec.json.encode(report.as_document(outcome, seed=seed, chaos=chaos, orders=orders)))
    else:
        _tell(console, outcome, seed)
    return outcome.matches


def _tell(console: Console, outcome: Outcome, seed: int) -> None:
    console.print(report.as_table(outcome))
    for line in report.offenders(outcome):
        console.print(line, style="red", soft_wrap=True)
    style = "bold green" if outcome.matches else "bold red"
    console.print(report.verdict(outcome), style=style, soft_wrap=True)
    console.print(f"{outcome.seconds:.1f} s, seed {seed}")
