"""One local transaction with its messages, without knowing whether its ports block: the order of protocol 5.

prepare (one batch) -> markers (one statement) -> COMMIT -> confirm (one batch). Whatever goes wrong before COMMIT is
rolled back and cancelled, barrier first; whatever goes wrong in or after COMMIT is left to check-back.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from aftercommit import wire
from aftercommit.sdk.barrier.markers import mark_committed, mark_superseded, read_markers
from aftercommit.sdk.barrier.outcomes import Outcome
from aftercommit.sdk.clients.answers import BatchResult
from aftercommit.sdk.databases.failures import Failure, commit_is_uncertain, failure_of
from aftercommit.sdk.databases.port import Handle, Misused
from aftercommit.sdk.databases.savepoints import Moment
from aftercommit.sdk.errors import AfterCommitClientError, IdConflict, RolledBack, Unavailable, Unreachable
from aftercommit.sdk.service import Initiator, tell
from aftercommit.sdk.transactions.giving_up import give_up
from aftercommit.sdk.transactions.outbox import Fallback, store
from aftercommit.sdk.transactions.points import Point, Probe
from aftercommit.sdk.transactions.transaction_errors import CommitUncertain, NotPrepared, RuledOut, TransactionEnded
from aftercommit.sdk.transactions.unit import Unit

_log = logging.getLogger("aftercommit.transaction")


class _MarkerTaken(Exception):
    """Our INSERT met a marker that is there already."""


class LocalTransaction:
    """What happens around the user's transaction. `begin` once, then `finish` or `abandon` once.

    `confirm_later`, if given, takes the ids instead of a confirm that is waited for.
    """

    def __init__(
        self,
        service: Initiator,
        handle: Handle,
        unit: Unit,
        *,
        probe: Probe,
        confirm_later: Callable[[Sequence[str]], None] | None = None,
        fallback: Fallback | None = None,
    ) -> None:
        self._service = service
        self._handle = handle
        self._unit = unit
        self._probe = probe
        self._confirm_later = confirm_later
        self._fallback = fallback
        self._entered = False
        # Whether there is a transaction of ours, and whether `begin` is done.
        self._opened = False
        self._begun = False
        # Whether what goes with the transaction is settled already.
        self._ended = False
        self._required: Moment | None = None
        self._proof: tuple[str, Sequence[str]] | None = None
        self._published: list[tuple[wire.PrepareRequest, Moment]] = []
        self._early: list[wire.PrepareRequest] = []
        # What the service may have heard of.
        self._attempted: list[str] = []
        # What goes into the local outbox, because the service could not be reached.
        self._stored: set[str] = set()
        self.already_done = False

    def publish(self, message: wire.PrepareRequest) -> None:
        """Add a message: before `begin` to be prepared there, after it at the end.

        Raises `TransactionEnded` after the end, where nothing would deliver it.
        """
        if self._ended:
            raise TransactionEnded(
                "This was published after its transaction had ended, too late to go with it.", [_id(message)]
            )
        if self._begun:
            self._published.append((message, self._handle.watch()))
        else:
            self._early.append(message)

    async def begin(self) -> None:
        """Prepare what was published before, then be in a transaction and mark it."""
        if self._entered:
            raise Misused("This transaction was entered before; make another one with client.transaction(...).")
        self._entered = True
        try:
            await self._prepare(self._early)
            await self._handle.begin()
            self._opened = True
            await self._mark(self._early)
        except BaseException as error:
            await self._abandon(error)
            # The block cannot be left out: what it does a second time is rolled back at its end.
            await self._handle.begin()
        self._begun = True

    async def finish(self) -> None:
        """The block ended well: prepare, mark, commit, confirm. Raises `TransactionError`s and the driver's errors."""
        if self.already_done:
            self._ended = True
            await self._handle.rollback()
            return
        try:
            await self._handle.flush()
            fresh = self._kept()
            self._ended = True
            await self._prepare(fresh)
            await self._mark(fresh)
            await self._supersede(fresh)
            await self._require_early_markers()
            await self._require_proof()
            self._probe(Point.BEFORE_COMMIT)
        except BaseException as error:
            await self._abandon(error)
            return
        await self._commit()
        prepared = [_id(each) for each in (*self._early, *fresh) if each.id not in self._stored]
        if prepared:
            self._probe(Point.AFTER_COMMIT)
            await self._confirm(prepared)
            self._probe(Point.AFTER_SEND)

    async def cancel(self, error: BaseException) -> bool:
        """The block ended with `error`, which the caller raises: roll back, and cancel what was prepared early.

        Whether it was rolled back in good order, so that the connection can be used again.
        """
        self._ended = True
        in_order = await self._roll_back()
        if isinstance(error, Exception):
            outcomes = await self._give_up(earlier_runs_too=self._may_be_a_repetition(error))
            self.already_done = Outcome.COMMITTED in outcomes.values()
        return in_order

    def require_whole(self, statement: str, parameters: Sequence[str]) -> None:
        """What was written until now belongs to this transaction even if nothing is published: see `_kept`.

        `statement` finds a row of it. A transaction that the server gave up after an error, which the block swallowed,
        would end well otherwise: PostgreSQL answers its COMMIT with a ROLLBACK that no driver raises.
        """
        self._required = self._handle.watch()
        self._proof = statement, parameters

    def _kept(self) -> list[wire.PrepareRequest]:
        """What was published and is still part of the transaction; what a savepoint took back is not."""
        moments = [moment for _, moment in self._published]
        if self._required is not None:
            moments.append(self._required)
        if moments and (any(each.ended for each in moments) or not self._handle.in_transaction()):
            raise TransactionEnded(
                "The transaction ended inside the block that publishes. Leave commit and rollback to the block.",
                [_id(each) for each, _ in self._published],
            )
        return [message for message, moment in self._published if moment.kept]

    async def _prepare(self, messages: Sequence[wire.PrepareRequest]) -> None:
        if not messages:
            return
        self._probe(Point.BEFORE_PREPARE)
        self._attempted += [_id(each) for each in messages]
        try:
            results = await self._ask_to_prepare(messages)
        except AfterCommitClientError as error:
            raise self._not_prepared(error) from error
        for result in results:
            if result.error is not None:
                raise self._not_prepared(result.error) from result.error
        self._probe(Point.AFTER_PREPARE)

    async def _ask_to_prepare(self, messages: Sequence[wire.PrepareRequest]) -> list[BatchResult]:
        """Without a fallback, the service's results. With one, no results where the outbox takes them instead."""
        if self._fallback is None:
            return await self._service.prepare(messages)
        if self._fallback.may_ask():
            try:
                return await self._service.prepare(messages)
            except (Unavailable, Unreachable) as error:
                self._fallback.unheard()
                _log.warning("The service cannot be reached, so the outbox takes what is published: %s", error)
        # It may have been received all the same: the markers are written as ever, and the relay repeats the prepare.
        self._stored.update(_id(each) for each in messages)
        return []

    def _not_prepared(self, error: AfterCommitClientError) -> NotPrepared:
        return NotPrepared(f"Not prepared, so the transaction is rolled back: {error}", self._attempted)

    async def _mark(self, messages: Sequence[wire.PrepareRequest]) -> None:
        if not messages:
            return
        with _marking():
            await mark_committed(self._handle, [_id(each) for each in messages])
        await store(self._handle, [each for each in messages if each.id in self._stored])

    async def _supersede(self, fresh: Sequence[wire.PrepareRequest]) -> None:
        """An earlier run that published what this one does not would otherwise not be met, and commit as well."""
        published = {each.id for each in (*self._early, *fresh)}
        earlier = [each for each in self._unit.message_ids if each not in published] if self._unit.is_retry else []
        with _marking():
            await mark_superseded(self._handle, earlier)

    async def _require_early_markers(self) -> None:
        """A transaction that was rolled back inside the block, or is aborted, would commit without its markers."""
        early = [_id(each) for each in self._early]
        if early and len(await read_markers(self._handle, early)) < len(early):
            raise TransactionEnded("The transaction that was marked ended inside the block.", early)

    async def _require_proof(self) -> None:
        if self._proof is not None and not await self._handle.execute(*self._proof):
            raise TransactionEnded("The transaction was rolled back inside the block.", self._attempted)

    async def _abandon(self, error: BaseException) -> None:
        """Roll back after `error`, and raise what the caller is to see; returns if the unit was done before."""
        if self._opened or not isinstance(error, Misused):
            # What is open on a session or connection that we refused is somebody else's.
            await self._roll_back()
        if not isinstance(error, Exception):
            # Cancelled, or the process is ending: no calls now, check-back settles it.
            raise error
        met, repetition = self._met_another(error), self._may_be_a_repetition(error)
        outcomes = await self._give_up(earlier_runs_too=met or repetition)
        if (met or repetition) and Outcome.COMMITTED in outcomes.values():
            self.already_done = True
            return
        if not met:
            raise error
        if Outcome.UNKNOWN in outcomes.values():
            raise CommitUncertain(
                "Another run of this unit may still commit, so this one was rolled back; repeat it later.",
                self._attempted,
            ) from error
        raise RuledOut(
            "A check, or an earlier run, ruled this transaction out before it could commit; it was rolled back.",
            self._attempted,
        ) from error

    def _met_another(self, error: Exception) -> bool:
        """Whether another run of this unit, or a check, was here first; the barrier then says which."""
        if isinstance(error, _MarkerTaken):
            return True
        if not isinstance(error, NotPrepared):
            return False
        # The same id with other content is the caller's mistake, unless it is a retry that numbered its rows anew.
        return isinstance(error.__cause__, RolledBack) or (
            isinstance(error.__cause__, IdConflict) and self._unit.is_retry
        )

    def _may_be_a_repetition(self, error: Exception) -> bool:
        """Whether a row that is there already may be an earlier run's, which committed after all."""
        return self._unit.is_retry and failure_of(error) is Failure.DUPLICATE

    async def _commit(self) -> None:
        try:
            await self._handle.commit()
        except BaseException as error:
            await self._roll_back()
            if not isinstance(error, Exception) or not self._attempted:
                raise
            if not commit_is_uncertain(error):
                await self._give_up()
                raise
            raise CommitUncertain(
                f"The answer to COMMIT was lost; a check-back finds out whether it took effect: {error}",
                self._attempted,
            ) from error

    async def _roll_back(self) -> bool:
        try:
            await self._handle.rollback()
            return True
        except Exception as error:
            # The connection is gone, and the transaction with it; the error that brought us here is the one to show.
            _log.info("The local transaction could not be rolled back: %s", error)
            return False

    async def _give_up(self, *, earlier_runs_too: bool = False) -> dict[str, Outcome]:
        """Rule out what the service may have heard of. If no run of the unit can commit any more, it takes new ids."""
        if not self._attempted and not earlier_runs_too:
            return {}
        # An earlier run may have published what this one did not come to.
        earlier = self._unit.message_ids if self._unit.is_retry else ()
        outcomes = await give_up(
            self._service, self._handle.separate(), list(dict.fromkeys([*self._attempted, *earlier]))
        )
        if set(outcomes.values()) == {Outcome.ROLLED_BACK}:
            self._unit.renew()
        return outcomes

    async def _confirm(self, message_ids: Sequence[str]) -> None:
        if self._confirm_later is not None:
            self._confirm_later(message_ids)
        else:
            await tell("confirm", self._service.confirm(message_ids))


@contextmanager
def _marking() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if failure_of(error) is Failure.DUPLICATE:
            raise _MarkerTaken from error
        raise


def _id(message: wire.PrepareRequest) -> str:
    if message.id is None:
        raise TypeError("A message of a transaction has an id; make it with new_message.")
    return message.id
