"""The work of a full pipeline, as the service would hand it to a store: what the floors record and replay."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from aftercommit.clocks import new_id, wall_ms
from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Catalog, CatalogEdit, SubscriptionSpec, TopicSpec, put_app, put_topic
from aftercommit.domain.lifecycle import Status
from aftercommit.domain.message import Claimed
from aftercommit.ports.store import Store
from aftercommit.service.reception import read_prepare
from aftercommit.wire import PrepareRequest
from benchmarks.workloads import PAYLOAD, SUBSCRIPTION, TOPIC

PULLS: Final = 100
SENDS: Final = 1000
# 100 bytes, of which millions fit on a disk.
SMALL: Final = b'{"order":12345,"note":"' + b"x" * 76 + b'"}'
# The one whose messages are those of callers that say no name.
APP: Final = "default"


async def register_in(store: Store, *names: str) -> Catalog:
    """Topics with one subscription each, put into an open store; without names, the topic of the workloads."""
    await store.edit_catalog(_with_app, wall_ms())
    [app] = (each for each in store.catalog.apps.values() if each.name == APP)
    for name in names or (TOPIC,):
        spec = TopicSpec(name=name, app=app.id, subscriptions=(SubscriptionSpec(name=SUBSCRIPTION, app=app.id),))
        await store.edit_catalog(partial(put_topic, spec=spec, now=wall_ms()), wall_ms())
    return store.catalog


def _with_app(catalog: Catalog) -> CatalogEdit:
    return put_app(catalog, APP, wall_ms(), check_url=None, check_signed=False)


async def pattern(store: Store, topic: str, status: Status) -> str:
    """The id of a new message of a topic that the store has led to `status`."""
    [one] = (each for each in store.catalog.topics.values() if each.name == topic)
    pipeline = Pipeline(store.catalog, 1, topic=one.id, payload=SMALL)
    [prepare] = pipeline.prepares(1)
    ids = [prepare.message.id]
    steps: dict[Status, Sequence[c.Work]] = {
        Status.PENDING_CONFIRMATION: [prepare],
        Status.PENDING_SEND: pipeline.confirms(ids),
        Status.SENT: pipeline.sends(),
        Status.COMPLETED: [*pipeline.pulls(), *pipeline.completes(ids)],
    }
    for reached, work in steps.items():
        await store.write(work, wall_ms())
        if reached is status:
            break
    found = await store.find(ids)
    assert found[ids[0]].status is status, f"The message that should be {status} is {found[ids[0]].status}."
    return ids[0]


class Pipeline:
    """Batches of new messages, each one step behind the next: `step` is one transaction's work.

    `take` is told the results of a step before the next one is asked for. `topic`: the only one, if none is named.
    """

    def __init__(self, catalog: Catalog, batch: int, *, topic: int | None = None, payload: bytes = PAYLOAD) -> None:
        self._catalog = catalog
        self._payload = payload
        self._batch = batch
        self._topic = catalog.topics[topic] if topic is not None else next(iter(catalog.topics.values()))
        [self._subscription] = catalog.route(self._topic.id)
        self._new: list[str] = []
        self._prepared: list[str] = []
        self._pulled: list[str] = []
        self.completed = 0

    def prepares(self, count: int) -> list[c.Prepare]:
        """New messages with the payload."""
        request = PrepareRequest(topic=self._topic.name, payload=msgspec.Raw(self._payload))
        policy = self._catalog.policy(self._topic.id)
        return [
            read_prepare(
                request,
                message_id=new_id(),
                app=self._topic.app,
                topic=self._topic.id,
                policy=policy,
                now=wall_ms(),
                chance=0.5,
                traceparent=None,
            )
            for _ in range(count)
        ]

    def confirms(self, ids: Sequence[str]) -> list[c.Work]:
        """Their transactions have committed."""
        return [c.Confirm(id=each, app=self._topic.app, actor=APP) for each in ids]

    def sends(self) -> list[c.Work]:
        """What a dispatcher takes."""
        return [c.ClaimSends(topic=self._topic.id, limit=SENDS)]

    def pulls(self) -> list[c.Work]:
        """What consumers take of a batch."""
        claim = c.ClaimPulls(subscription=self._subscription.id, limit=PULLS)
        return [claim] * -(-self._batch // PULLS)

    def completes(self, ids: Sequence[str]) -> list[c.Work]:
        """They were consumed."""
        return [c.Complete(id=each, app=self._topic.app, actor=APP) for each in ids]

    def step(self) -> list[c.Work]:
        """Prepare, confirm, send, pull and complete one batch each."""
        new = self.prepares(self._batch)
        self._new = [each.message.id for each in new]
        confirms, completes = self.confirms(self._prepared), self.completes(self._pulled)
        return [*new, *confirms, *self.sends(), *self.pulls(), *completes]

    def take(self, results: Sequence[Any]) -> None:
        """What the step came to."""
        self.completed += len(self._pulled)
        _sent, *pulls = (each for each in results if isinstance(each, Claimed))
        self._pulled = [taken.message.id for claim in pulls for taken in claim.taken]
        self._prepared = self._new


Transaction = Callable[[Sequence[c.Work]], list[Any]]


def run_prepares(pipeline: Pipeline, transaction: Transaction, batch: int, messages: int) -> int:
    """Only prepares, `batch` to a transaction; how many."""
    for _ in range(messages // batch):
        transaction(pipeline.prepares(batch))
    return messages // batch * batch


def run_cycles(pipeline: Pipeline, transaction: Transaction, batch: int, messages: int) -> int:
    """Whole lives, `batch` of each verb to a transaction; how many ended."""
    for _ in range(messages // batch):
        pipeline.take(transaction(pipeline.step()))
    return pipeline.completed
