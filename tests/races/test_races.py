"""The barrier holds under fire, and what is weaker does not, on each database."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.races.campaign import Campaign, Report, Terms, usual_terms
from tests.races.journal import Journal
from tests.races.ledger import Ledger
from tests.races.places import in_file, on_server
from tests.races.real_node import RealNode
from tests.races.shops import DRIVERS, Place
from tests.races.weaker import WEAKER

RACES = 2000
# So few are enough to find what is weaker many times over.
RACES_OF_WEAKER = 150
RACES_WITH_A_NODE = 150

Show = Callable[[Report], None]


@pytest.fixture(params=list(DRIVERS))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty database with the tables of the races."""
    kind = request.param
    if kind == "sqlite":
        yield in_file(tmp_path)
        return
    server = request.getfixturevalue("postgres" if kind == "postgresql" else kind)
    with server.database() as database:
        yield on_server(kind, database)


def test_whatever_happens_nobody_is_told_anything_but_what_is_in_the_database(
    place: Place, tmp_path: Path, show: Show
) -> None:
    report = _run(place, tmp_path, RACES, "on")
    show(report)
    assert not report.problems, f"{report}: {report.problems}"
    assert not report.contradictions, f"{report}: {report.contradictions[:10]}"
    _require_real_races(report)


def test_a_real_node_settles_what_happened_however_it_is_killed(place: Place, tmp_path: Path, show: Show) -> None:
    terms = _terms_with_a_node(place.kind)
    journals = tmp_path / "journals"
    journals.mkdir()
    with RealNode(tmp_path, journals) as node:
        report = Campaign(terms, place, journals, node).run()
    show(report)
    assert not report.problems, f"{report}: {report.problems}"
    assert not report.contradictions, f"{report}: {report.contradictions[:10]}"
    assert report.figures["races"] >= RACES_WITH_A_NODE, report
    assert report.figures["service killed"] >= 1, report


@pytest.mark.parametrize("barrier", list(WEAKER))
def test_a_weaker_barrier_is_found_out(place: Place, tmp_path: Path, show: Show, barrier: str) -> None:
    report = _run(place, tmp_path, RACES_OF_WEAKER, barrier)
    show(report)
    assert report.contradictions, report


def _run(place: Place, folder: Path, races: int, barrier: str) -> Report:
    terms = usual_terms(place.kind, races, secrets.randbelow(1_000_000), barrier)
    journals = folder / "journals"
    journals.mkdir()
    with Ledger(Journal(journals, "ledger"), f"{terms.seed}/ledger") as ledger:
        return Campaign(terms, place, journals, ledger).run()


def _terms_with_a_node(kind: str) -> Terms:
    """The node asks again and again, but at its own pace."""
    terms = usual_terms(kind, RACES_WITH_A_NODE, secrets.randbelow(1_000_000))
    return replace(terms, service="a real node", workers=min(terms.workers, 6))


def _require_real_races(report: Report) -> None:
    """A campaign in which something never happened proves nothing about it."""
    least = {
        "races": RACES,
        "committed": 500,
        "rolled back by their code": 50,
        "refused by the database": 50,
        "ruled out": 30,
        "done before": 4,
        "COMMIT uncertain": 30,
        "uncertain and committed": 10,
        "killed inside": 15,
        "repeated": 200,
        "checks unknown": 200,
        "checks committed": 200,
        "checks rolled back": 200,
        "initiators killed": 4,
        "checkers killed": 1,
    }
    missing = {name: report.figures[name] for name, number in least.items() if report.figures[name] < number}
    assert not missing, f"{missing} is too few: {report}"
