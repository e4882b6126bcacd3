"""One process per file: a lock of the operating system beside the database, which no crash leaves behind."""

import fcntl
import os
from pathlib import Path

from aftercommit.domain.errors import ConfigurationError


class FileLock:
    """Held from `take` to `release`. Also a second lock of the same process is refused: each opens the file anew."""

    def __init__(self, database: Path) -> None:
        self._database = database
        # Beside the file itself, whatever link leads to it.
        self._path = database.resolve().with_name(database.resolve().name + ".lock")
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock, or raise `ConfigurationError` that says who has it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigurationError(
                f"The lock file {self._path} cannot be opened ({error.strerror}): give the database a folder that this"
                " process may write to."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 32).decode("ascii", "replace").strip()
            os.close(file)
            raise ConfigurationError(
                f"The database {self._database} is in use by {_named(holder)}: a SQLite database serves one process;"
                " stop that one, or give this one a file of its own."
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes hold locks on two files of the same name."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _named(holder: str) -> str:
    if holder == str(os.getpid()):
        return "this very process"
    return f"process {holder}" if holder else "another process"
