"""When next, and when enough: the pure rules behind every due time and every budget.

Times are integers, milliseconds since 1970 UTC. `chance` is a number in [0, 1) drawn by the caller.
"""

from typing import Final

import msgspec

from aftercommit.domain.errors import Invalid

MS: Final = 1000
JITTER: Final = 0.2
ID_AGE_MAX_MS: Final = 7 * 24 * 3600 * MS
ID_AHEAD_MAX_MS: Final = 24 * 3600 * MS
DELAY_MAX_SECONDS: Final = 30 * 24 * 3600
UNDECIDED_CHECK_SECONDS: Final = 3600.0
# A claimed check is one node's for this long: longer than the call's deadline, short enough to replace a dead node.
CHECK_HOLD_MS: Final = 8 * MS


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How patient the service is with a topic (protocol, section 7). All durations are in seconds."""

    check_after_seconds: float = 60
    check_interval_seconds: float = 30
    check_interval_max_seconds: float = 600
    checks_max: int = 15
    publish_retry_seconds: float = 1
    publish_retry_max_seconds: float = 300
    publish_attempts_max: int = 10
    redelivery_seconds: tuple[float, ...] = (60, 300, 900, 3600, 21600)
    deliveries_max: int = 12
    retention_seconds: float = 604800

    @classmethod
    def merged(cls, *layers: dict[str, object]) -> "Policy":
        """The defaults overlaid by each layer in turn. Raises `Invalid` with the field at fault."""
        fields: dict[str, object] = {}
        for layer in layers:
            fields |= layer
        try:
            policy = msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise Invalid("invalid_policy", f"The policy is wrong: {error}.", "/policy") from None
        policy._require_sense()
        return policy

    def _require_sense(self) -> None:
        for name in ("checks_max", "publish_attempts_max", "deliveries_max"):
            if not 1 <= getattr(self, name) <= 1000:
                raise Invalid("invalid_policy", f"{name} must be from 1 to 1000.", f"/policy/{name}")
        if not 1 <= len(self.redelivery_seconds) <= 32:
            raise Invalid(
                "invalid_policy",
                "redelivery_seconds must hold 1 to 32 intervals.",
                "/policy/redelivery_seconds",
            )
        for name in self.__struct_fields__:
            value = getattr(self, name)
            seconds = value if isinstance(value, tuple) else (value,) if name.endswith("_seconds") else ()
            if not all(0 <= each <= 366 * 24 * 3600 for each in seconds):
                raise Invalid("invalid_policy", f"{name} must be from 0 seconds to 366 days.", f"/policy/{name}")


def jittered(seconds: float, chance: float) -> int:
    """`seconds` in milliseconds, lengthened by up to 20 %: spreads a herd, never comes early."""
    return round(seconds * MS * (1 + JITTER * chance))


def check_delay(policy: Policy, checks: int, chance: float) -> int:
    """Milliseconds until the next check after `checks` were made: doubles from the first interval to the maximum."""
    seconds = policy.check_interval_seconds * 2 ** min(max(checks - 1, 0), 32)
    return jittered(min(seconds, policy.check_interval_max_seconds), chance)


def redelivery_delay(policy: Policy, attempt: int, chance: float) -> int:
    """Milliseconds attempt number `attempt` (from 1) is given to be reported; the last interval repeats."""
    index = min(max(attempt, 1), len(policy.redelivery_seconds)) - 1
    return jittered(policy.redelivery_seconds[index], chance)


def publish_delay(policy: Policy, refusals: int, chance: float) -> int:
    """Milliseconds until a message the broker refused `refusals` times is offered again."""
    seconds = policy.publish_retry_seconds * 2 ** min(max(refusals - 1, 0), 32)
    return jittered(min(seconds, policy.publish_retry_max_seconds), chance)


def unreachable_limit(policy: Policy) -> int:
    """Milliseconds without one check that could be made, after which a message is undecided."""
    return round(policy.checks_max * policy.check_interval_max_seconds * MS)
