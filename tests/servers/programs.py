"""Where the servers' programs are, and as whom they run."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Debian keeps some servers out of an ordinary user's PATH.
_PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine that a server runs as; nobody in particular where the tests themselves are not root."""

    user_id: int | None = None
    group_id: int | None = None

    @property
    def popen_options(self) -> dict[str, Any]:
        """What makes subprocess start a program as this user."""
        if self.user_id is None:
            return {}
        return {"user": self.user_id, "group": self.group_id, "extra_groups": []}

    def own(self, *paths: Path) -> None:
        """Give the files to this user."""
        if self.user_id is not None and self.group_id is not None:
            for path in paths:
                os.chown(path, self.user_id, self.group_id)


def unprivileged(*names: str) -> Account:
    """The first of these users that exists, else `nobody`; some servers refuse to run as root."""
    if os.geteuid() != 0:
        return Account()
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in (*names, "nobody") if name in known)
    return Account(entry.pw_uid, entry.pw_gid)


def find_program(*names: str, folders: Iterable[Path] = ()) -> Path | None:
    """The first of these programs in the given folders, on the PATH, or beside this Python; None if there is none."""
    own = Path(sys.executable).parent
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), *_PLACES, str(own)])
    found = (shutil.which(name, path=path) for name in names)
    return next((Path(program) for program in found if program), None)


def runs_as(account: Account, program: Path) -> bool:
    """Whether the user can start the program, which may lie in a folder that only root may enter."""
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True, cwd="/", **account.popen_options)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
