"""The observer port: what the services tell about themselves, without knowing who listens."""

from typing import Protocol


class Observer(Protocol):
    """Takes numbers. Every method returns at once and never raises; names and labels are those of `/metrics`."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Something happened `amount` times. `name` as in Prometheus, without prefix and `_total`."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Something took `value` (seconds) or had that size."""

    def alert(self, name: str, detail: str, **labels: str) -> None:
        """Something an operator must look at: counted, and logged as a warning with `detail`."""
