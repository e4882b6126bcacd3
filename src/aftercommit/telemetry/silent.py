"""An observer for those who do not want to know."""


class SilentObserver:
    """`ports.observer.Observer` that forgets everything at once."""

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        """Forget it."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Forget it."""

    def alert(self, name: str, detail: str, **labels: str) -> None:
        """Forget it."""
