"""What every server's checks share: figures, and the clock."""

from typing import Final

from aftercommit.doctor.finding import Verdict, ok, warning
from aftercommit.stores.sql.store import DISPATCH_HOLD_SECONDS, DISPATCHERS, READERS, WRITERS

CONNECTIONS_PER_WORKER: Final = WRITERS + DISPATCHERS + READERS
HOLD_SECONDS: Final = DISPATCH_HOLD_SECONDS
CLOCK_OFF_MS: Final = 60_000
# What holds back the clearing away of dead rows for longer than this is told.
OLD_SECONDS: Final = 3600


def clock_verdict(ahead_ms: int) -> Verdict:
    """The database's clock beside this machine's; it is the service's."""
    shown = (
        f"The database's clock is {abs(ahead_ms) / 1000:.1f} s {'ahead of' if ahead_ms > 0 else 'behind'} this one's."
    )
    if abs(ahead_ms) > CLOCK_OFF_MS:
        return warning(shown, "Set both by NTP: applications refuse signatures that are minutes off.")
    return ok(shown)
