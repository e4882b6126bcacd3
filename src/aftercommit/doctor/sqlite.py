"""A SQLite database: is its file where a file is safe, and sound? Nothing is written; a missing one is not made."""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from aftercommit.doctor.finding import Report, Verdict, error, named, ok, unreached, warning
from aftercommit.domain.errors import ConfigurationError, StoreUnavailable
from aftercommit.stores.sqlite import missing_migrations
from aftercommit.stores.sqlite.connection import VERSION_MIN

FAMILY: Final = "sqlite"
# Where locks are only promised, or files are not on a disk of this machine.
NETWORK: Final = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "fuse.", "lustre", "ncp", "beegfs", "vboxsf")
IN_MEMORY: Final = ("tmpfs", "ramfs")
MOUNTS: Final = Path("/proc/mounts")
MIB: Final = 1024 * 1024
FREE_MIN: Final = 64 * MIB
FREE_COMFORTABLE: Final = 1024 * MIB
# Reading a larger file whole takes long, and meanwhile the log of a running node cannot be cut.
CHECKED_WHOLE_MAX: Final = 1024 * MIB


def examine_sqlite(path: Path) -> Report:
    """Every check in turn; those of the content only where there is a database."""
    place = Report(findings=[named(FAMILY, each.__name__, each(path)) for each in PLACE])
    if not path.exists():
        return place
    try:
        _ask(path, "PRAGMA schema_version")
    except sqlite3.Error as problem:
        return place + unreached(
            FAMILY, f"{path} cannot be opened as a database: {problem}.", "Give the service a SQLite file of its own."
        )
    return place + Report(findings=[named(FAMILY, each.__name__, _read(each, path)) for each in CONTENT])


def version(path: Path) -> Verdict:
    """The library that Python was built with."""
    needed = ".".join(map(str, VERSION_MIN))
    if sqlite3.sqlite_version_info < VERSION_MIN:
        return error(f"Python has SQLite {sqlite3.sqlite_version}, which is too old.", f"Use {needed} or newer.")
    return ok(f"SQLite {sqlite3.sqlite_version}.")


def file(path: Path) -> Verdict:
    """Who may read and write the file: it holds payloads and secrets."""
    place = path if path.exists() else _folder(path)
    if not os.access(place, os.R_OK | os.W_OK) or not os.access(_folder(path), os.W_OK | os.X_OK):
        return error(f"This user may not write {place} or its folder.", "Run as the file's owner, or give it to them.")
    if not path.exists():
        return ok(f"{path} does not exist yet: the first start makes it.")
    status = path.stat()
    if status.st_uid != os.geteuid():
        return warning(
            f"{path} belongs to user {status.st_uid}, and this is user {os.geteuid()}.",
            "Run the node, its migrations and the doctor as one user.",
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return warning(
            f"Others than its owner may read {path} (mode {stat.S_IMODE(status.st_mode):o}).",
            f"It holds payloads and secrets: chmod 600 {path}.",
        )
    return ok(f"{path}, for its owner alone.")


def file_system(path: Path) -> Verdict:
    """Whether the file is on a disk of this machine."""
    kind = _kind_of_file_system(_folder(path).resolve())
    if kind is None:
        return warning("The kind of its file system cannot be told here.", "Use a disk of this machine, no network's.")
    if kind.startswith(NETWORK):
        return error(
            f"{path} is on a network file system ({kind}), where SQLite's locks and log do not hold.",
            "Move it to a disk of this machine, or use PostgreSQL.",
        )
    if kind in IN_MEMORY:
        return warning(f"{path} is in memory ({kind}): a reboot loses it.", "Move it to a disk.")
    return ok(f"A disk of this machine ({kind}).")


def free_space(path: Path) -> Verdict:
    """What is left on the file's disk."""
    space = os.statvfs(_folder(path))
    free = space.f_bavail * space.f_frsize
    shown = f"{free // MIB} MiB are free on the disk of {path}."
    if free < FREE_MIN:
        return error(shown, "Make room: nothing can be accepted on a full disk.")
    if free < FREE_COMFORTABLE:
        return warning(shown, "Make room before it is full.")
    return ok(shown)


def running_node(path: Path) -> Verdict:
    """Whether a process serves the database now; that is no fault."""
    lock = path.resolve().with_name(path.resolve().name + ".lock")
    if not lock.exists():
        return ok("No node uses it.")
    with lock.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return ok(f"Process {held.read(32).decode('ascii', 'replace').strip() or 'unknown'} serves it.")
    return ok("No node uses it.")


def schema(path: Path) -> Verdict:
    """Whether the tables are those of this version."""
    try:
        missing = missing_migrations(path)
    except ConfigurationError as problem:
        return error(str(problem), "Nothing was changed.")
    if missing:
        return warning(
            f"{len(missing)} migrations are missing, the first is {missing[0]}.", "Run `aftercommit migrate`."
        )
    return ok("The schema is this version's.")


def journal(path: Path) -> Verdict:
    """The write-ahead log, without which readers stop the writer."""
    mode = _ask(path, "PRAGMA journal_mode")
    if mode != ["wal"]:
        return warning(f"journal_mode is {mode[0]}.", "A node's start sets it to wal: let nothing else open the file.")
    return ok("journal_mode is wal.")


def integrity(path: Path) -> Verdict:
    """Whether the file's pages hold together."""
    if path.stat().st_size > CHECKED_WHOLE_MAX:
        return ok(f"Too large to be read whole here; run `PRAGMA quick_check` on a copy of {path}.")
    answer = _ask(path, "PRAGMA quick_check(3)")
    if answer != ["ok"]:
        return error(
            f"The file is damaged: {'; '.join(answer)}.",
            "Stop the node, keep a copy of the file and its -wal, and restore a backup.",
        )
    return ok("quick_check found nothing.")


PLACE: Final[tuple[Callable[[Path], Verdict], ...]] = (version, file, file_system, free_space, running_node)
CONTENT: Final[tuple[Callable[[Path], Verdict], ...]] = (integrity, schema, journal)


def _read(check: Callable[[Path], Verdict], path: Path) -> Verdict:
    """The check's verdict; what it stumbles over in a damaged file is one too."""
    try:
        return check(path)
    except (sqlite3.Error, StoreUnavailable) as problem:
        return error(f"The file cannot be read: {problem}", "See `integrity`: restore a backup if it is damaged.")


def _folder(path: Path) -> Path:
    """The folder it is in, or the nearest one above it that exists."""
    return next(each for each in path.absolute().parents if each.is_dir())


def _ask(path: Path, statement: str) -> list[str]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        return [str(row[0]) for row in connection.execute(statement)]


def _kind_of_file_system(folder: Path) -> str | None:
    """The kind of the innermost mount that holds `folder`; None where the system does not tell."""
    if not MOUNTS.exists():
        return None
    kind, depth = None, -1
    for line in MOUNTS.read_text("utf-8", "replace").splitlines():
        _device, place, its_kind, *_rest = line.split()
        mount = Path(place.replace("\\040", " "))
        # Later lines lie over earlier ones.
        if folder.is_relative_to(mount) and len(mount.parts) >= depth:
            kind, depth = its_kind, len(mount.parts)
    return kind
