"""The protocol's transition table (section 2), written out by hand: what the tests hold the code against.

A cell is the status the event leads to, `already` (200, nothing written), `replay` (a new linked message), or a
refusal's code behind an exclamation mark.
"""

from aftercommit.domain.lifecycle import Status

_TABLE = """
event                pending_confirmation pending_send         sent                 completed            rolled_back          failed               undecided            undelivered
confirm              pending_send         already              already              already              !rolled_back         already              pending_send         already
check_committed      pending_send         already              already              already              !rolled_back         already              pending_send         already
cancel               rolled_back          !already_confirmed   !already_confirmed   !already_confirmed   already              !already_confirmed   rolled_back          !already_confirmed
check_rolled_back    rolled_back          !already_confirmed   !already_confirmed   !already_confirmed   already              !already_confirmed   rolled_back          !already_confirmed
check_unknown        pending_confirmation !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  undecided            !invalid_transition
checks_used_up       undecided            !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition
accepted             !invalid_transition  sent                 !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition
refused              !invalid_transition  undelivered          !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition
pull                 !invalid_transition  !invalid_transition  sent                 !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition
redelivery_due       !invalid_transition  !invalid_transition  sent                 !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition
deliveries_used_up   !invalid_transition  !invalid_transition  undelivered          !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition
complete             !not_delivered       completed            completed            already              !not_delivered       !invalid_transition  !not_delivered       completed
fail                 !not_delivered       failed               failed               !invalid_transition  !not_delivered       already              !not_delivered       failed
resolve_committed    !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  pending_send         !invalid_transition
resolve_rolled_back  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  rolled_back          !invalid_transition
recheck              pending_confirmation !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  undecided            !invalid_transition
redeliver            !invalid_transition  pending_send         sent                 replay               !invalid_transition  replay               !invalid_transition  pending_send
discard              !invalid_transition  failed               failed               !invalid_transition  !invalid_transition  !invalid_transition  !invalid_transition  failed
"""  # noqa: E501  a table is read across


def _cells() -> dict[tuple[str, Status], str]:
    header, *rows = [line.split() for line in _TABLE.strip().splitlines()]
    return {(event, Status(status)): cell for event, *row in rows for status, cell in zip(header[1:], row, strict=True)}


# (event, status) -> cell
CELLS = _cells()
EVENTS = tuple(dict.fromkeys(event for event, _status in CELLS))
