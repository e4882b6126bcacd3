"""The work of a full pipeline, as the service would hand it to a store: what the floors record and replay."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from aftercommit.clocks import new_id, wall_ms
from aftercommit.domain import commands as c
from aftercommit.domain.catalog import Catalog, CatalogEdit, SubscriptionSpec, TopicSpec, put_app, put_topic
from aftercommit.domain.message import Claimed
from aftercommit.ports.store import Store
from aftercommit.service.reception import read_prepare
from aftercommit.wire import PrepareRequest
from benchmarks.workloads import PAYLOAD, SUBSCRIPTION, TOPIC

PULLS: Final = 100
SENDS: Final = 1000
APP: Final = "bench"


async def register_in(store: Store) -> Catalog:
    """The topic and its one subscription, put into an open store."""
    await store.edit_catalog(_with_app, wall_ms())
    [app] = store.catalog.apps.values()
    spec = TopicSpec(name=TOPIC, app=app.id, subscriptions=(SubscriptionSpec(name=SUBSCRIPTION, app=app.id),))
    await store.edit_catalog(lambda catalog: put_topic(catalog, spec, wall_ms()), wall_ms())
    return store.catalog


def _with_app(catalog: Catalog) -> CatalogEdit:
    return put_app(catalog, APP, wall_ms(), check_url=None, check_signed=False)


class Pipeline:
    """Batches of new messages, each one step behind the next: `step` is one transaction's work.

    `take` is told the results of a step before the next one is asked for.
    """

    def __init__(self, catalog: Catalog, batch: int) -> None:
        self._catalog = catalog
        self._batch = batch
        [self._topic] = catalog.topics.values()
        [self._subscription] = catalog.route(self._topic.id)
        self._new: list[str] = []
        self._prepared: list[str] = []
        self._pulled: list[str] = []
        self.completed = 0

    def prepares(self, count: int) -> list[c.Prepare]:
        """New messages with the benchmark's payload."""
        request = PrepareRequest(topic=TOPIC, payload=msgspec.Raw(PAYLOAD))
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

    def step(self) -> list[c.Work]:
        """Prepare, confirm, send, pull and complete one batch each."""
        new = self.prepares(self._batch)
        app = self._topic.app
        work: list[c.Work] = [
            *new,
            *(c.Confirm(id=each, app=app, actor=APP) for each in self._prepared),
            c.ClaimSends(topic=self._topic.id, limit=SENDS),
            *(c.ClaimPulls(subscription=self._subscription.id, limit=PULLS) for _ in range(-(-self._batch // PULLS))),
            *(c.Complete(id=each, app=app, actor=APP) for each in self._pulled),
        ]
        self._new = [each.message.id for each in new]
        return work

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
