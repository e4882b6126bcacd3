"""The broker: can it be spoken to, and does it keep what it takes?"""

from aftercommit.doctor.finding import Report, named, ok


def examine_built_in() -> Report:
    """The built-in broker keeps its messages in the service's own database."""
    return Report(findings=[named("memory", "broker", ok("The built-in broker: messages wait in the database."))])
