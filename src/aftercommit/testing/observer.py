"""An observer that remembers what it was told."""

from collections import Counter

Labels = tuple[tuple[str, str], ...]


class RecordingObserver:
    """`ports.observer.Observer` for tests: look at `counts`, `values` and `alerts`, or ask `counted`.

    observer = RecordingObserver()
    observer.count("events", 2, event="sent", topic="orders.created")
    assert observer.counted("events", event="sent") == 2
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Labels]] = Counter()
        self.values: list[tuple[str, float, dict[str, str]]] = []
        self.alerts: list[tuple[str, str, dict[str, str]]] = []

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Remember that something happened."""
        self.counts[name, tuple(sorted(labels.items()))] += amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Remember how long or how big something was."""
        self.values.append((name, value, labels))

    def alert(self, name: str, detail: str, **labels: str) -> None:
        """Remember what an operator must look at."""
        self.alerts.append((name, detail, labels))

    def counted(self, name: str, **labels: str) -> int:
        """How often `name` was counted with at least these labels."""
        wanted = labels.items()
        return sum(amount for (each, found), amount in self.counts.items() if each == name and wanted <= set(found))

    def alerted(self) -> list[str]:
        """The names of the alerts, in order."""
        return [name for name, _, _ in self.alerts]
