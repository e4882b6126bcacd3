"""Whether a bare connection is still in the transaction that `begin` left open, where its driver would not tell.

A savepoint of ours around everything: a commit or rollback in between takes it away.
"""

from typing import Final

from aftercommit.sdk.databases.port import Handle
from aftercommit.sdk.databases.savepoints import Savepoints

WHOLE: Final = "SAVEPOINT aftercommit_whole"
_RELEASE: Final = "RELEASE SAVEPOINT aftercommit_whole"
# ER_SP_DOES_NOT_EXIST of MySQL; SQLite has no code of its own for it.
_NO_SUCH_SAVEPOINT: Final = 1305
_SQLITE_ERROR: Final = 1


async def require_whole(handle: Handle, savepoints: Savepoints) -> None:
    """Tell `savepoints` if the transaction ended since `WHOLE` was set. Raises the driver's other errors."""
    if not handle.in_transaction():
        return
    try:
        await handle.execute(_RELEASE)
    except Exception as error:
        if error.args[:1] != (_NO_SUCH_SAVEPOINT,) and getattr(error, "sqlite_errorcode", None) != _SQLITE_ERROR:
            raise
        savepoints.ended()
