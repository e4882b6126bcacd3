"""From one time at which something happens to the next, without stopping where nothing does."""

from collections.abc import Mapping


class Pace:
    """How far to move time at once. What is overdue, because nobody can do it now, is looked at ever more seldom."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest_seconds = longest_seconds
        self._before: Mapping[object, int] = {}
        self._seconds = 0.0

    def step_seconds(self, now: int, dues: Mapping[object, int], *, again_seconds: float) -> float | None:
        """Seconds to the next due time (milliseconds, like `now`), None if nothing is due ever.

        Where something is overdue already: `again_seconds`, doubled each time that nothing at all has changed; but
        never past another due time.
        """
        self._seconds = min(self._seconds * 2, self._longest_seconds) if dues == self._before else 0.0
        self._before = dict(dues)
        coming = min((at - now for at in dues.values() if at > now), default=None)
        if any(at <= now for at in dues.values()):
            self._seconds = max(self._seconds, again_seconds)
            return self._seconds if coming is None else min(self._seconds, coming / 1000)
        return None if coming is None else coming / 1000
