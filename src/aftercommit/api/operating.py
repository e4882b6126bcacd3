"""`/v1/messages` for people: search, look, and act on one message. Bulk operations belong beside them."""

from typing import Any, Final

from aftercommit.api.answers import Answer, json_answer
from aftercommit.api.call import Call, Context
from aftercommit.api.outcomes import message_id, status_answer
from aftercommit.api.route import NoBody, Parameter, Route, Tag
from aftercommit.domain.lifecycle import Refusal
from aftercommit.wire import (
    DiscardRequest,
    MessageAnswer,
    MessagesAnswer,
    MessageStatus,
    RecheckRequest,
    RedeliverRequest,
    ResolveRequest,
    StatsAnswer,
)

_NAMES_SUBSCRIPTIONS: Final = "/subscriptions"


async def search(context: Context, call: Call[NoBody]) -> Answer:
    """List messages, newest first. Every given condition must hold; follow `next_cursor` for the rest."""
    return json_answer(await context.services.inspection.search(call.caller, **call.query))


async def get(context: Context, call: Call[NoBody]) -> Answer:
    """Everything about one message: content, status, deliveries, history."""
    return json_answer(await context.services.inspection.get(call.caller, message_id(call.path[0])))


async def resolve(context: Context, call: Call[ResolveRequest]) -> Answer:
    """Decide an undecided message; its initiator is asked once more, and a definitive answer wins."""
    return status_answer(
        await context.services.operation.resolve(call.caller, message_id(call.path[0]), call.body),
    )


async def recheck(context: Context, call: Call[RecheckRequest]) -> Answer:
    """Have the initiator asked now what became of its local transaction."""
    return status_answer(await context.services.operation.recheck(call.caller, message_id(call.path[0])))


async def redeliver(context: Context, call: Call[RedeliverRequest]) -> Answer:
    """Deliver again. A settled message is delivered as a new one that names it in `replay_of`."""
    return status_answer(
        await context.services.operation.redeliver(call.caller, message_id(call.path[0]), call.body),
        pointer=_NAMES_SUBSCRIPTIONS,
        creates=True,
    )


async def discard(context: Context, call: Call[DiscardRequest]) -> Answer:
    """Give up what is not yet delivered of a message."""
    return status_answer(
        await context.services.operation.discard(call.caller, message_id(call.path[0]), call.body.reason)
    )


async def stats(context: Context, call: Call[NoBody]) -> Answer:
    """Counts and ages per status, topic and application, and the rates of the last minute."""
    return json_answer(await context.services.inspection.stats(call.caller))


_SEARCH_PARAMETERS: Final = (
    Parameter("status", "Only messages with this status."),
    Parameter("topic", "Only messages of this topic."),
    Parameter("app", "Only messages of this application."),
    Parameter("key", "Only messages with this key."),
    Parameter("since", "Prepared at this time or later (RFC 3339)."),
    Parameter("until", "Prepared before this time (RFC 3339)."),
    Parameter("error", "Only messages whose last error contains this."),
    Parameter("q", "Only messages whose id, key or last error contains this."),
    Parameter("cursor", "`next_cursor` of the page before."),
    Parameter("limit", "How many at most.", "integer"),
)


def _action(verb: str, summary: str, handler: Any, body: type, *problems: str) -> Route[Any]:
    return Route(
        method="POST",
        path=f"/v1/messages/{{id}}/{verb}",
        summary=summary,
        tag=Tag.OPERATING,
        handler=handler,
        body=body,
        answer=MessageStatus,
        created=verb == "redeliver",
        problems=(Refusal.UNKNOWN_MESSAGE, Refusal.INVALID_TRANSITION, Refusal.BUSY, *problems),
    )


ROUTES: Final[tuple[Route[Any], ...]] = (
    Route(
        method="GET",
        path="/v1/messages",
        summary="Search messages",
        tag=Tag.READING,
        handler=search,
        body=NoBody,
        answer=MessagesAnswer,
        query=_SEARCH_PARAMETERS,
        problems=("invalid_query",),
    ),
    Route(
        method="GET",
        path="/v1/messages/{id}",
        summary="Look at a message",
        tag=Tag.READING,
        handler=get,
        body=NoBody,
        answer=MessageAnswer,
        problems=(Refusal.UNKNOWN_MESSAGE,),
    ),
    _action("resolve", "Decide an undecided message", resolve, ResolveRequest, "invalid_outcome", "reason_required"),
    _action("recheck", "Ask the initiator now", recheck, RecheckRequest),
    _action(
        "redeliver",
        "Deliver again",
        redeliver,
        RedeliverRequest,
        Refusal.UNKNOWN_SUBSCRIPTION,
        Refusal.SUBSCRIPTION_REQUIRED,
    ),
    _action("discard", "Give a message up", discard, DiscardRequest, "reason_required"),
    Route(
        method="GET",
        path="/v1/stats",
        summary="Counts, ages and rates",
        tag=Tag.READING,
        handler=stats,
        body=NoBody,
        answer=StatsAnswer,
    ),
)
