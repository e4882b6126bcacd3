"""An order service as many are written: its check-back only looks whether the order is there. It must be found out."""

import sys
from contextlib import closing
from unittest import mock

import msgspec

from aftercommit.cli.demo import barrier, order_service
from aftercommit.cli.demo.database import connect
from aftercommit.cli.demo.scene import Scene
from aftercommit.domain.commands import CheckOutcome


def look(path, message_ids):
    """No marker is left behind, so that a slow transaction may still commit after this said it did not."""
    with closing(connect(path)) as connection:
        committed = barrier.read(connection, message_ids)
    return {each: committed.get(each, CheckOutcome.ROLLED_BACK) for each in message_ids}


if __name__ == "__main__":
    with mock.patch.object(barrier, "settle", look):
        order_service.run(msgspec.json.decode(sys.argv[1], type=Scene))
