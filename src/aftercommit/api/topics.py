"""`/v1/topics`: topics are data, made and changed while the node runs."""

from typing import Any, Final

from aftercommit.api.answers import NO_CONTENT, Answer, json_answer
from aftercommit.api.call import Call, Context
from aftercommit.api.route import NoBody, Parameter, Route, Tag
from aftercommit.domain.errors import Invalid
from aftercommit.wire import EmptyRequest, TopicAnswer, TopicRequest, TopicsAnswer

_TRUE: Final = frozenset({"", "1", "true"})
_FALSE: Final = frozenset({"0", "false"})


async def put(context: Context, call: Call[TopicRequest]) -> Answer:
    """Create a topic, or change it. `subscriptions` is the whole list: those missing from it are dropped."""
    topic, created = await context.services.registry.put_topic(
        call.caller, call.path[0], call.body, force=_force(call.query.get("force"))
    )
    return json_answer(topic, 201 if created else 200)


async def get(context: Context, call: Call[NoBody]) -> Answer:
    """A topic with its subscriptions and the policies in force."""
    return json_answer(await context.services.registry.get_topic(call.path[0]))


async def list_all(context: Context, call: Call[NoBody]) -> Answer:
    """All topics by name."""
    return json_answer(await context.services.registry.list_topics())


async def delete(context: Context, call: Call[NoBody]) -> Answer:
    """Forget a topic that has no live or parked message."""
    await context.services.registry.delete_topic(call.path[0])
    return NO_CONTENT


async def pause(context: Context, call: Call[EmptyRequest]) -> Answer:
    """Stop sending, redelivery and pull. Prepare, confirm, reports and check-back go on."""
    return json_answer(await context.services.registry.pause(call.path[0]))


async def resume(context: Context, call: Call[EmptyRequest]) -> Answer:
    """Let a paused topic go on."""
    return json_answer(await context.services.registry.resume(call.path[0]))


def _force(text: str | None) -> bool:
    if text is None or text in _FALSE:
        return False
    if text not in _TRUE:
        raise Invalid("invalid_parameter", "force must be true or false.", "/force")
    return True


ROUTES: Final[tuple[Route[Any], ...]] = (
    Route(
        method="GET",
        path="/v1/topics",
        summary="List topics",
        tag=Tag.TOPICS,
        handler=list_all,
        body=NoBody,
        answer=TopicsAnswer,
    ),
    Route(
        method="PUT",
        path="/v1/topics/{topic}",
        summary="Create or change a topic",
        tag=Tag.TOPICS,
        handler=put,
        body=TopicRequest,
        answer=TopicAnswer,
        created=True,
        query=(Parameter("force", "Drop subscriptions although deliveries are open; those are given up.", "boolean"),),
        problems=("invalid_topic", "invalid_subscription", "invalid_policy", "name_collision", "subscription_in_use"),
    ),
    Route(
        method="GET",
        path="/v1/topics/{topic}",
        summary="Look at a topic",
        tag=Tag.TOPICS,
        handler=get,
        body=NoBody,
        answer=TopicAnswer,
        problems=("unknown_topic",),
    ),
    Route(
        method="DELETE",
        path="/v1/topics/{topic}",
        summary="Delete a topic",
        tag=Tag.TOPICS,
        handler=delete,
        body=NoBody,
        status=204,
        media_type=None,
        problems=("unknown_topic", "topic_in_use"),
    ),
    Route(
        method="POST",
        path="/v1/topics/{topic}/pause",
        summary="Pause a topic",
        tag=Tag.TOPICS,
        handler=pause,
        body=EmptyRequest,
        answer=TopicAnswer,
        problems=("unknown_topic",),
    ),
    Route(
        method="POST",
        path="/v1/topics/{topic}/resume",
        summary="Resume a topic",
        tag=Tag.TOPICS,
        handler=resume,
        body=EmptyRequest,
        answer=TopicAnswer,
        problems=("unknown_topic",),
    ),
)
