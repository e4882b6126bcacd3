"""A running load of initiators, consumers and an onlooker, who write down everything they do and hear."""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Protocol

from tests.e2e.caller import Answer, Caller, pulled_payloads, raw_payload
from tests.e2e.history import TERMINAL, Entry, Final, Outcome
from tests.e2e.initiator import Asked, Initiator, Reply, verdicts
from tests.e2e.names import fresh, new_id

SUBSCRIPTIONS = ("billing", "stock")
POLICY = {
    "check_after_seconds": 0.4,
    "check_interval_seconds": 0.2,
    "check_interval_max_seconds": 0.5,
    "checks_max": 1000,
    "redelivery_seconds": [0.4],
    "deliveries_max": 1000,
}
TRIES = 3
TIMEOUT_SECONDS = 5.0

Act = Callable[["Load", Caller, random.Random], None]


class Service(Protocol):
    """Whatever answers the calls of a load: a node, or several on one database."""

    def caller(self, app: str | None = None, *, timeout_seconds: float = ...) -> Caller:
        """Somebody who speaks HTTP to it."""


class Load:
    """Start it on a node that runs; the node may then be killed and started again as often as one likes.

    Like a real initiator it knows what became of its local transactions, and says so when it is asked in a check:
    `truth` is its database.
    """

    def __init__(self, node: Service) -> None:
        self.entries: list[Entry] = []
        self.truth: dict[str, str] = {}
        self.known: list[str] = []
        self.problems: list[str] = []
        self.topic = fresh("load.")
        self.app = fresh("shop-")
        self._node = node
        self._initiating = threading.Event()
        self._consuming = threading.Event()
        self._threads: list[threading.Thread] = []
        self._responder = Initiator(self._answer_check)

    def start(self) -> None:
        """Register, and let everybody begin."""
        self._responder.__enter__()
        with self._node.caller(self.app) as caller:
            caller.put(f"/v1/apps/{self.app}", {"check_url": self._responder.url, "check_signed": False}).require(201)
            caller.put_topic(self.topic, *SUBSCRIPTIONS, policy=POLICY).require(201)
        acts: list[tuple[Act, threading.Event]] = [(_initiate, self._initiating)] * 3
        acts += [(_consumer_of(name), self._consuming) for name in (*SUBSCRIPTIONS, *SUBSCRIPTIONS)]
        acts += [(_look_on, self._consuming)]
        for number, (act, until) in enumerate(acts):
            thread = threading.Thread(target=self._run, args=(act, until, random.Random(number)))
            self._threads.append(thread)
            thread.start()

    def settle(self, within_seconds: float) -> None:
        """Begin nothing new, and wait until every message that is there has come to rest."""
        self._initiating.set()
        until = time.monotonic() + within_seconds
        while self._live() and time.monotonic() < until:
            time.sleep(0.2)

    def stop(self) -> None:
        """Send everybody home."""
        self._initiating.set()
        self._consuming.set()
        for thread in self._threads:
            thread.join(60)
        self._responder.__exit__(None, None, None)

    def finals(self) -> dict[str, Final]:
        """Every message of the application as the service has it."""
        finals = {}
        with self._node.caller(self.app) as caller:
            for message_id in {*self.known, *self._listed(caller)}:
                answer = caller.get(f"/v1/messages/{message_id}")
                if answer.status == 404:
                    continue
                seen = answer.require(200)
                digest = _digest(raw_payload(answer.body)) if "payload" in seen else None
                deliveries = {each["subscription"]: each["status"] for each in seen["deliveries"]}
                finals[message_id] = Final(seen["status"], digest, deliveries)
        return finals

    @property
    def draining(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._initiating.is_set()

    def say(self, verb: str, message_id: str, call: Callable[[], Answer], **fields: object) -> Entry:
        """Make a call, and write down what was heard."""
        began = time.monotonic()
        try:
            answer = call()
        except (OSError, HTTPException):
            entry = Entry(verb, message_id, began, time.monotonic(), Outcome.UNKNOWN, **fields)  # type: ignore[arg-type]
        else:
            ended = time.monotonic()
            if answer.status >= 500 and answer.status != 503:
                self.problems.append(f"{verb} of {message_id} said {answer.status}: {answer.body[:300]!r}")
            good = answer.status in {200, 201}
            status = answer.json["status"] if good else None
            outcome = Outcome.OK if good else Outcome.REFUSED
            said = str(answer.status)
            entry = Entry(verb, message_id, began, ended, outcome, status, said, **fields)  # type: ignore[arg-type]
        self.entries.append(entry)
        return entry

    def insist(self, verb: str, message_id: str, call: Callable[[], Answer], **fields: object) -> Entry:
        """Repeat a call until it is answered for good, but not for ever."""
        for _ in range(TRIES):
            entry = self.say(verb, message_id, call, **fields)
            if entry.outcome is Outcome.OK or (entry.outcome is Outcome.REFUSED and entry.said != "503"):
                break
            time.sleep(0.1)
        return entry

    def _run(self, act: Act, until: threading.Event, chance: random.Random) -> None:
        try:
            with self._node.caller(self.app, timeout_seconds=TIMEOUT_SECONDS) as caller:
                while not until.is_set():
                    act(self, caller, chance)
        except Exception as error:  # a bug of the load must fail the test, not only its thread
            self.problems.append(f"{act} ended with {error!r}")
            raise

    def _answer_check(self, asked: Asked) -> Reply:
        # Some answers take their time, so that kills and pauses fall into the middle of checks.
        if len(self.entries) % 5 == 0:
            self._responder.closing.wait(0.5)
        now = time.monotonic()
        outcomes = {message_id: self.truth.get(message_id, "unknown") for message_id in asked.ids}
        self.entries.extend(
            Entry("check", message_id, now, now, Outcome.OK, said=outcome) for message_id, outcome in outcomes.items()
        )
        return verdicts(outcomes)

    def _live(self) -> list[str]:
        live = []
        with self._node.caller(self.app) as caller:
            for start in range(0, len(self.known), 1000):
                part = self.known[start : start + 1000]
                results = caller.batch("status", *({"id": each} for each in part))
                live += [each["id"] for each in results if each.get("status", "completed") not in TERMINAL]
        return live

    def _listed(self, caller: Caller) -> list[str]:
        found: list[str] = []
        query: dict[str, object] = {"limit": 200}
        while True:
            page = caller.get("/v1/messages", **query).require(200)
            found += [each["id"] for each in page["messages"]]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]


def _initiate(load: Load, caller: Caller, chance: random.Random) -> None:
    """One unit of work: prepare, the local transaction, and what is then said about it."""
    message_id = new_id()
    payload = {"text": "x" * chance.randrange(200), "unit": message_id}
    options = {"delay_seconds": round(chance.random() * 0.3, 3)} if chance.random() < 0.2 else {}
    kind = chance.choices(["confirm", "cancel", "silence", "publish"], [5, 2, 2, 1])[0]
    # The bytes that the caller makes of it.
    digest = _digest(json.dumps(payload).encode())
    verb = "publish" if kind == "publish" else "prepare"
    load.known.append(message_id)
    prepared = load.insist(
        verb,
        message_id,
        lambda: caller.prepare(load.topic, payload, id=message_id, confirmed=kind == "publish", **options),
        digest=digest,
    )
    if kind != "publish":
        commits = prepared.outcome is Outcome.OK and kind != "cancel" and chance.random() < 0.8
        load.truth[message_id] = "committed" if commits else "rolled_back"
        if kind == "silence":
            return
        if commits:
            load.insist("confirm", message_id, lambda: caller.confirm(message_id))
        else:
            load.insist("cancel", message_id, lambda: caller.cancel(message_id))
    time.sleep(chance.random() * 0.08)


def _consumer_of(subscription: str) -> Act:
    def consume(load: Load, caller: Caller, chance: random.Random) -> None:
        """Pull, and report most of what came."""
        began = time.monotonic()
        try:
            answer = caller.pull_answer(load.topic, subscription, max=chance.choice([1, 5, 20]), wait_seconds=0.5)
        except (OSError, HTTPException):
            time.sleep(0.05)
            return
        ended = time.monotonic()
        if answer.status != 200:
            if answer.status != 503:
                load.problems.append(f"A pull said {answer.status}: {answer.body[:300]!r}")
            time.sleep(0.05)
            return
        pulled = list(zip(answer.json["messages"], pulled_payloads(answer.body), strict=True))
        load.entries.extend(
            Entry(
                "deliver",
                message["id"],
                began,
                ended,
                Outcome.OK,
                subscription=subscription,
                attempt=message["attempt"],
                digest=_digest(payload),
            )
            for message, payload in pulled
        )
        for message, _ in pulled:
            _report(load, caller, chance, message["id"], subscription)

    return consume


def _report(load: Load, caller: Caller, chance: random.Random, message_id: str, subscription: str) -> None:
    luck = 1.0 if load.draining else chance.random()
    if luck < 0.2:
        return
    if luck < 0.25:
        load.say(
            "fail",
            message_id,
            lambda: caller.fail(message_id, subscription=subscription),
            subscription=subscription,
        )
        return
    load.say(
        "complete",
        message_id,
        lambda: caller.complete(message_id, subscription=subscription),
        subscription=subscription,
    )


def _look_on(load: Load, caller: Caller, chance: random.Random) -> None:
    """Read one of the latest messages."""
    if load.known:
        message_id = chance.choice(load.known[-60:])
        load.say("read", message_id, lambda: caller.get(f"/v1/messages/{message_id}"))
    time.sleep(0.01)


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
