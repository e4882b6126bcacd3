"""The log: one line per event on stderr, without payloads, header values, secrets or control characters."""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from aftercommit.ports.clock import Clock

LOGGER: Final = "aftercommit"
NAME_MAX: Final = 100
TEXT_MAX: Final = 2000
TRACE_MAX: Final = 20_000
ALERTS_PER_MINUTE_MAX: Final = 60
_MINUTE: Final = 60.0
_HIDDEN: Final = "[hidden]"

# What an operator may see on purpose in the service itself never leaves it by way of the log.
_HIDDEN_KEYS: Final = frozenset(
    {"payload", "payload_base64", "body", "content", "headers", "authorization", "cookie", "key", "secret", "password"}
)
_SECRETS: Final = re.compile(r"whsec_[A-Za-z0-9+/=_-]+|(?<=Bearer )\S+|(?<=Basic )\S+|(?<=://)[^/@\s]+(?=@)")
# Line breaks, terminal escapes, invisible and direction-changing characters, halves of surrogate pairs.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def configure_log(
    level: str = "info", log_format: str = "console", stream: TextIO | None = None, *, worker: int | None = None
) -> None:
    """Send this process's log, that of libraries included, to `stream` (stderr); to be called once, by the entry point.

    `log_format`: `json` for machines, `console` for people. `worker`: the number that every line carries, where several
    processes write one log. Raises `ValueError` for another level or format.
    """
    if log_format not in _RENDERERS:
        raise ValueError(f"There is no log format {log_format!r}; use one of {', '.join(_RENDERERS)}.")
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"There is no log level {level!r}; use debug, info, warning, error or critical.")
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *([] if worker is None else [_numbered(worker)]),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            clean,
            _RENDERERS[log_format],
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def clean(_logger: WrappedLogger | None, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: hide what must not be logged, escape what could forge a line, cut what is too long."""
    return {_text(str(key), NAME_MAX): _field(str(key), value) for key, value in event.items()}


class AlertLog:
    """Logs alerts as warnings (`telemetry.metrics.Warn`), each name at most 60 times a minute.

    What was left out is told with the next alert of that name: whoever can cause alerts must not fill the disk.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._logger = structlog.stdlib.get_logger(f"{LOGGER}.alerts")
        self._minutes: dict[str, _Minute] = {}

    def __call__(self, name: str, detail: str, labels: Mapping[str, str]) -> None:
        """Log one alert."""
        now = self._monotonic()
        minute = self._minutes.setdefault(name, _Minute(now))
        if now - minute.began_at >= _MINUTE:
            left_out = {"left_out": minute.left_out} if minute.left_out else {}
            self._minutes[name] = minute = _Minute(now)
        else:
            left_out = {}
        if minute.logged >= ALERTS_PER_MINUTE_MAX:
            minute.left_out += 1
            return
        minute.logged += 1
        self._logger.warning(detail, alert=name, **{f"label_{key}": value for key, value in labels.items()}, **left_out)


class _Minute:
    """How often an alert was logged, and not logged, since `began_at`."""

    __slots__ = ("began_at", "left_out", "logged")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.logged = 0
        self.left_out = 0


def _numbered(worker: int) -> Processor:
    def numbered(_logger: WrappedLogger | None, _method: str, event: EventDict) -> EventDict:
        return {"worker": worker, **event}

    return numbered


def _field(key: str, value: object) -> object:
    if key.lower() in _HIDDEN_KEYS:
        return _HIDDEN
    return _text(str(value), TRACE_MAX) if key == "exception" else _value(value)


def _value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _text(value, TEXT_MAX)
    if isinstance(value, BaseException):
        return _text(f"{type(value).__name__}: {value}", TEXT_MAX)
    # Our records print themselves with all they hold, a message's payload included; only plain values are shown.
    return f"[{type(value).__name__}]"


def _text(text: str, length_max: int) -> str:
    # Hidden before it is cut, or half a secret would stay; a bit more than is shown is enough to look at.
    shown = _SECRETS.sub(_HIDDEN, text[: 2 * length_max])
    if len(text) > length_max:
        shown = f"{shown[:length_max]}[{len(text) - length_max} more]"
    return _CONTROL.sub(_escape, shown)


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _as_json(_logger: WrappedLogger | None, _method: str, event: EventDict) -> str:
    return json.dumps(event, separators=(",", ":"), allow_nan=True)


def _as_line(_logger: WrappedLogger | None, _method: str, event: EventDict) -> str:
    first = [str(event.pop(key, "")) for key in ("timestamp", "level", "logger", "event")]
    # The text of an exception is escaped like everything else, so it is one long line; only we break it.
    exception = str(event.pop("exception", "")).replace("\\x0a", "\n    ")
    rest = [f"{key}={_shown(value)}" for key, value in event.items()]
    line = " ".join([first[0], f"{first[1]:<8}", first[2], first[3], *rest])
    return f"{line}\n    {exception}" if exception else line


def _shown(value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, str) and (" " in value or not value) else str(value)
    )


_RENDERERS: Final[dict[str, Callable[[Any, str, EventDict], str]]] = {"console": _as_line, "json": _as_json}
