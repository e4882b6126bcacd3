"""`/v1/messages`: what initiators and consumers say about one message. The hot path."""

import re
from typing import Any, Final

from aftercommit.api.answers import Answer, json_answer
from aftercommit.api.call import Call, Context, Headers
from aftercommit.api.outcomes import message_id, status_answer
from aftercommit.api.route import Route, Tag
from aftercommit.domain.lifecycle import Refusal
from aftercommit.wire import (
    CancelRequest,
    CompleteRequest,
    ConfirmRequest,
    FailRequest,
    MessageStatus,
    PrepareRequest,
    PullAnswer,
    PullRequest,
)

_TRACEPARENT: Final = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


async def prepare(context: Context, call: Call[PrepareRequest]) -> Answer:
    """Store a message whose local transaction is still open (or, with `confirmed`, to be sent at once)."""
    outcome = await context.services.intake.prepare(call.caller, call.body, traceparent(call.headers))
    return status_answer(outcome, creates=True)


async def confirm(context: Context, call: Call[ConfirmRequest]) -> Answer:
    """The local transaction committed: send the message when it is due."""
    return status_answer(await context.services.intake.confirm(call.caller, message_id(call.path[0])))


async def cancel(context: Context, call: Call[CancelRequest]) -> Answer:
    """The local transaction rolled back and will never commit: the message is never sent."""
    return status_answer(await context.services.intake.cancel(call.caller, message_id(call.path[0]), call.body.reason))


async def complete(context: Context, call: Call[CompleteRequest]) -> Answer:
    """The consumer has done its work: the delivery is not tried again."""
    return status_answer(
        await context.services.reports.complete(call.caller, message_id(call.path[0]), call.body.subscription)
    )


async def fail(context: Context, call: Call[FailRequest]) -> Answer:
    """The consumer refuses the message for good: the delivery is not tried again."""
    return status_answer(
        await context.services.reports.fail(
            call.caller, message_id(call.path[0]), call.body.reason, call.body.subscription
        )
    )


async def pull(context: Context, call: Call[PullRequest]) -> Answer:
    """Take deliveries of a subscription from the built-in broker: each is one attempt."""
    topic, subscription = call.path
    asked = call.body
    work = context.services.pulling.pull(call.caller, topic, subscription, asked.max, asked.wait_seconds)
    messages = await (call.while_connected(work) if asked.wait_seconds else work)
    return json_answer(PullAnswer(messages=messages))


def traceparent(headers: Headers) -> str | None:
    """The caller's trace context, if it is one; it travels with the message."""
    value = headers.get(b"traceparent")
    return value.decode("ascii") if value is not None and _TRACEPARENT.fullmatch(value) else None


ROUTES: Final[tuple[Route[Any], ...]] = (
    Route(
        method="POST",
        path="/v1/messages",
        summary="Prepare a message",
        tag=Tag.INITIATORS,
        handler=prepare,
        body=PrepareRequest,
        answer=MessageStatus,
        created=True,
        problems=(
            Refusal.ID_CONFLICT,
            Refusal.ROLLED_BACK,
            "id_out_of_range",
            "invalid_id",
            "unknown_topic",
            "invalid_payload",
            "payload_too_large",
            "payload_too_deep",
            "invalid_headers",
            "invalid_delay",
            "overloaded",
            Refusal.BUSY,
        ),
    ),
    Route(
        method="POST",
        path="/v1/messages/{id}/confirm",
        summary="Confirm: the local transaction committed",
        tag=Tag.INITIATORS,
        handler=confirm,
        body=ConfirmRequest,
        answer=MessageStatus,
        problems=(Refusal.UNKNOWN_MESSAGE, Refusal.ROLLED_BACK, Refusal.BUSY),
    ),
    Route(
        method="POST",
        path="/v1/messages/{id}/cancel",
        summary="Cancel: the local transaction rolled back",
        tag=Tag.INITIATORS,
        handler=cancel,
        body=CancelRequest,
        answer=MessageStatus,
        problems=(Refusal.UNKNOWN_MESSAGE, Refusal.ALREADY_CONFIRMED, Refusal.BUSY),
    ),
    Route(
        method="POST",
        path="/v1/messages/{id}/complete",
        summary="Complete: the consumer has done its work",
        tag=Tag.CONSUMERS,
        handler=complete,
        body=CompleteRequest,
        answer=MessageStatus,
        problems=(
            Refusal.UNKNOWN_MESSAGE,
            Refusal.NOT_DELIVERED,
            Refusal.INVALID_TRANSITION,
            Refusal.UNKNOWN_SUBSCRIPTION,
            Refusal.SUBSCRIPTION_REQUIRED,
            Refusal.BUSY,
        ),
    ),
    Route(
        method="POST",
        path="/v1/messages/{id}/fail",
        summary="Fail: the consumer refuses for good",
        tag=Tag.CONSUMERS,
        handler=fail,
        body=FailRequest,
        answer=MessageStatus,
        problems=(
            Refusal.UNKNOWN_MESSAGE,
            Refusal.NOT_DELIVERED,
            Refusal.INVALID_TRANSITION,
            Refusal.UNKNOWN_SUBSCRIPTION,
            Refusal.SUBSCRIPTION_REQUIRED,
            Refusal.BUSY,
        ),
    ),
    Route(
        method="POST",
        path="/v1/topics/{topic}/subscriptions/{name}/pull",
        summary="Pull deliveries from the built-in broker",
        tag=Tag.CONSUMERS,
        handler=pull,
        body=PullRequest,
        answer=PullAnswer,
        problems=("unknown_topic", Refusal.UNKNOWN_SUBSCRIPTION, "pull_not_available", "invalid_max", "invalid_wait"),
    ),
)
