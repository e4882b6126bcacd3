"""From journals and tables to what the judge reads, and to the figures that are reported."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.races.judge import Checked, Evidence, Row, Run, Told


@dataclass(frozen=True, slots=True)
class Tables:
    """The business rows and the markers as they are in the end."""

    rows: tuple[Row, ...]
    markers: Mapping[str, str] | None


def gathered(entries: Iterable[dict[str, Any]], tables: Tables, statuses: Mapping[str, str]) -> Evidence:
    """Everything that is known after the end."""
    runs: dict[str, Run] = {}
    asked: dict[str, dict[str, Any]] = {}
    checks: list[Checked] = []
    told: list[Told] = []
    deaths: dict[str, float] = {}
    for each in entries:
        match each["what"]:
            case "began":
                runs[each["run"]] = Run(each["run"], each["unit"], each["at"])
            case "published":
                run = runs[each["run"]]
                runs[run.run] = replace(run, published=(*run.published, each["id"]))
            case "undone":
                run = runs[each["run"]]
                runs[run.run] = replace(run, undone=(*run.undone, each["id"]))
            case "ended":
                runs[each["run"]] = replace(runs[each["run"]], ended=each["at"], said=each["said"])
            case "asked":
                asked[each["question"]] = each
            case "answered":
                question = asked.pop(each["question"])
                checks += [
                    Checked(message_id, question["at"], each["at"], said)
                    for message_id, said in each["answers"].items()
                ]
            case "killed":
                deaths[each["process"]] = each["at"]
            case "service" if each["verb"] in ("prepare", "confirm", "cancel"):
                answers = [None] * len(each["ids"]) if each["answers"] is None else each["answers"]
                told += [
                    Told(each["verb"], message_id, answer)
                    for message_id, answer in zip(each["ids"], answers, strict=True)
                ]
    # Questions over which a checker died.
    checks += [Checked(message_id, each["at"], None, None) for each in asked.values() for message_id in each["ids"]]
    ended = [
        replace(run, ended=deaths.get(run.run.partition(".")[0])) if run.said is None else run for run in runs.values()
    ]
    return Evidence(ended, checks, told, tables.rows, tables.markers, statuses)


def races(evidence: Evidence) -> int:
    """Messages whose local transaction and a check were under way at the same time."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for run in evidence.runs:
        for message_id in run.kept:
            spans[message_id].append((run.began, float("inf") if run.ended is None else run.ended))
    return len(
        {
            check.message_id
            for check in evidence.checks
            for began, ended in spans.get(check.message_id, ())
            if check.began < ended and began < (float("inf") if check.ended is None else check.ended)
        }
    )


def figures(evidence: Evidence) -> dict[str, int]:
    """How often what happened."""
    said = Counter("killed" if run.said is None else run.said for run in evidence.runs)
    wrote = {row.run for row in evidence.rows}
    by_unit = Counter(run.unit for run in evidence.runs)
    checks = Counter("unanswered" if each.said is None else each.said for each in evidence.checks)
    return {
        "races": races(evidence),
        "messages": len(evidence.statuses),
        "transactions": len(evidence.runs),
        "committed": said["committed"],
        "rolled back by their code": said["raised"],
        "refused by the database": said["refused"],
        "not prepared": said["not_prepared"],
        "ruled out": said["ruled_out"],
        "done before": said["already_done"],
        "COMMIT uncertain": said["uncertain"],
        "uncertain and committed": sum(run.said == "uncertain" and run.run in wrote for run in evidence.runs),
        "killed inside": said["killed"],
        "killed and committed": sum(run.said is None and run.run in wrote for run in evidence.runs),
        "repeated": sum(count - 1 for count in by_unit.values()),
        "checks": len(evidence.checks),
        "checks unknown": checks["unknown"],
        "checks committed": checks["committed"],
        "checks rolled back": checks["rolled_back"],
        "checks unanswered": checks["unanswered"],
    }
