"""How a local transaction with messages can end, other than well.

TransactionError           `message_ids` are the messages it would have published
├── NotPrepared            the service did not take a message: rolled back, nothing is delivered; try again later
├── RuledOut               a check had come first: rolled back, nothing is delivered; run the unit again at once
├── TransactionEnded       the transaction was ended inside the block: nothing is delivered of what was published there
└── CommitUncertain        the answer to COMMIT was lost: it committed or not, and the messages follow it. Do not
                           undo or repeat anything before you know; a check-back will find out by itself

The database's own errors (a deadlock, a serialization failure, a constraint) come out as the driver raises them, after
the rollback, so that whoever retries on them still can.
"""

from collections.abc import Sequence

from aftercommit.sdk.errors import AfterCommitClientError


class TransactionError(AfterCommitClientError):
    """The root of what a transaction raises by itself. `message_ids` are its messages.

    try:
        with Session() as session, client.transaction(session) as tx:
            tx.publish("orders.created", {"order": 42})
    except TransactionError as error:
        print(f"{error} The messages: {error.message_ids}")
    """

    def __init__(self, detail: str, message_ids: Sequence[str]) -> None:
        super().__init__(detail)
        self.message_ids = tuple(message_ids)


class NotPrepared(TransactionError):
    """A message could not be prepared, so the transaction was rolled back. The cause says why.

    Nothing of it happened; the same work may be tried again.

        try:
            with Session() as session, client.transaction(session) as tx:
                tx.publish("orders.created", {"order": 42})
        except NotPrepared as error:
            print(f"Try again later: {error.__cause__}")
    """


class RuledOut(TransactionError):
    """A check came before the transaction could commit and ruled it out, so it was rolled back.

    Nothing of it happened. Run the work again: with new messages, or with the same `unit`, which takes new ids by
    itself. If this comes often, `check_after_seconds` is shorter than the transactions take.

        unit = Unit()
        for is_last in (False, False, True):
            try:
                with Session() as session, client.transaction(session, unit=unit) as tx:
                    tx.publish("orders.created", {"order": 42})
                break
            except RuledOut:
                if is_last:
                    raise
    """


class TransactionEnded(TransactionError):
    """The transaction in which a message was published ended inside the block, which owns the commit.

    What was published in it is not delivered, even if that transaction was committed by hand: publish and commit in
    one block each.

        try:
            with Session() as session, client.transaction(session) as tx:
                tx.publish("orders.created", {"order": 42})
                session.commit()                    # the block's end is what commits
        except TransactionEnded as error:
            print(error)
    """


class CommitUncertain(TransactionError):
    """The connection was lost while COMMIT was under way: nobody knows yet whether it took effect. The cause is the
    driver's error.

    Nothing was cancelled. A check-back finds out, and the messages are delivered if, and only if, it committed. To
    repeat the work safely use the same `unit`: if the first run committed, the second one finds that out.

        unit = Unit()
        try:
            place_order(unit)                       # client.transaction(session, unit=unit)
        except CommitUncertain:
            place_order(unit)                       # its tx.already_done says what became of the first
    """
