"""Which subscribers of FastStream lose messages: the options that acknowledge too early, or drop what failed."""

import logging
from collections.abc import Iterator
from typing import Any, Final

try:
    from faststream import AckPolicy
    from faststream.exceptions import StopConsume
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "The middleware needs FastStream: pip install 'aftercommit[rabbitmq]' (or kafka, nats, redis).", name=error.name
    ) from error

_log: Final = logging.getLogger("aftercommit.consumer")

_ADVICE: Final = "give the subscriber ack_policy=AckPolicy.NACK_ON_ERROR"
_LOSSY: Final = {
    AckPolicy.ACK_FIRST: f"acknowledges a message before it is handled (ack_policy=ACK_FIRST); {_ADVICE}",
    AckPolicy.REJECT_ON_ERROR: f"drops a message that failed (ack_policy=REJECT_ON_ERROR, the default); {_ADVICE}",
}


class LossySubscriber(StopConsume):
    """A subscriber whose options lose messages. The sentence names the option. FastStream stops the subscriber.

    try:
        require_safe(*broker.subscribers)
    except LossySubscriber as error:
        sys.exit(str(error))
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self._sentence = sentence

    def __str__(self) -> str:
        return self._sentence


def require_safe(*subscribers: Any) -> None:
    """Raises `LossySubscriber` for the first of these subscribers that would lose messages.

    A broker's own `ack_policy` does not reach the subscribers of routers that were made before it. The middleware asks
    at the first message of each subscriber; ask for all of them when the program starts:

        @app.on_startup
        async def check() -> None:
            require_safe(*broker.subscribers)
    """
    for each in subscribers:
        fault = next(_faults(each), None)
        if fault is not None:
            sentence = f"The subscriber {_name(each)} {fault}."
            _log.critical(sentence)
            raise LossySubscriber(sentence)


def _faults(subscriber: Any) -> Iterator[str]:
    """What is wrong with it, the most telling first."""
    family = type(subscriber).__module__.split(".")[1] if "." in type(subscriber).__module__ else ""
    if family == "redis":
        yield from _redis_faults(subscriber)
    elif family == "nats":
        yield from _nats_faults(subscriber)
    elif family in {"kafka", "confluent"}:
        yield from _kafka_faults(subscriber)
    if subscriber.ack_policy in _LOSSY:
        yield _LOSSY[subscriber.ack_policy]


def _redis_faults(subscriber: Any) -> Iterator[str]:
    stream = getattr(subscriber, "stream_sub", None)
    if stream is None:
        yield "reads a channel or a list, which keep nothing; read a stream with StreamSub(group=..., consumer=...)"
    elif not stream.group:
        yield "reads its stream without a group, which remembers nothing; use StreamSub(group=..., consumer=...)"
    elif stream.no_ack:
        yield "has StreamSub(no_ack=True), so that Redis forgets a message once it is read; leave no_ack out"


def _nats_faults(subscriber: Any) -> Iterator[str]:
    if getattr(subscriber, "stream", None) is None:
        yield "reads NATS without JetStream, which keeps nothing; give it stream=JStream('AFTERCOMMIT', declare=False)"
        return
    if subscriber.extra_options.get("manual_ack") is False:
        yield _LOSSY[AckPolicy.ACK_FIRST]
    policy = getattr(subscriber.config, "ack_policy", None)
    if getattr(policy, "value", policy) == "none":
        yield "has a consumer with ack_policy none, which NATS takes for acknowledged when sent; use explicit"


def _kafka_faults(subscriber: Any) -> Iterator[str]:
    config = getattr(subscriber.consumer, "config", None) or {}
    if subscriber.ack_policy not in _LOSSY and str(config.get("enable.auto.commit", False)).lower() == "true":
        yield "commits by itself (enable.auto.commit), also what is not handled yet; take it out of the configuration"


def _name(subscriber: Any) -> str:
    specification = getattr(subscriber, "specification", None)
    return repr(getattr(specification, "call_name", None) or type(subscriber).__name__)
