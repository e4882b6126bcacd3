"""Reading a report in tests."""

from aftercommit.doctor.finding import Finding, Level, Report


def found(report: Report, check: str) -> Finding:
    """The one finding of a check, whatever its family."""
    [finding] = [each for each in report.findings if each.check.partition(".")[2] == check]
    return finding


def levels(report: Report) -> dict[str, Level]:
    """What is not well, by check."""
    return {each.check: each.level for each in report.findings if each.level is not Level.OK}
