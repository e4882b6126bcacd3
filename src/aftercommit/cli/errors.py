"""From an exception to one sentence and an exit code: the only place that knows both."""

from typing import Final, NamedTuple

from aftercommit.cli.exit_codes import ExitCode
from aftercommit.domain.errors import ConfigurationError
from aftercommit.sdk.errors import AfterCommitClientError, NotFound, Refused, Unavailable, Unreachable

_CODES: Final[tuple[tuple[type[Exception], ExitCode], ...]] = (
    (NotFound, ExitCode.NOT_FOUND),
    (Refused, ExitCode.REFUSED),
    (Unavailable, ExitCode.UNAVAILABLE),
    (Unreachable, ExitCode.UNAVAILABLE),
    (AfterCommitClientError, ExitCode.FAILURE),
    (ConfigurationError, ExitCode.FAILURE),
)


class Failure(NamedTuple):
    """How a program ends: a sentence for stderr, a code for the shell."""

    sentence: str
    code: ExitCode


def failure_of(error: Exception) -> Failure | None:
    """How the program ends for `error`; None for what nobody expected, which shows itself with its traceback."""
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "aftercommit":
        sentence = f"This command needs {error.name}, which is not installed: pip install 'aftercommit[server]'."
        return Failure(sentence, ExitCode.FAILURE)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Failure(_printable(str(error)), code)
    return None


def _printable(sentence: str) -> str:
    # What a service says may hold anything; what a terminal is shown is one printable line.
    return "".join(each if each.isprintable() else " " for each in sentence)
