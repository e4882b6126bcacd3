"""`/v1/apps`: registered applications, their signing secrets, and the checks of those that cannot be called."""

from typing import Any, Final

from aftercommit.api.answers import Answer, json_answer
from aftercommit.api.call import Call, Context
from aftercommit.api.outcomes import batch_answer
from aftercommit.api.route import NoBody, Route, Tag
from aftercommit.wire import (
    AppAnswer,
    AppRequest,
    BatchAnswer,
    ChecksAnswer,
    ChecksPullRequest,
    ChecksRequest,
    EmptyRequest,
    SecretAnswer,
)


async def put(context: Context, call: Call[AppRequest]) -> Answer:
    """Register an application, or change its check address. A new one's signing secret is shown here, once."""
    app, created = await context.services.registry.put_app(call.caller, call.path[0], call.body)
    return json_answer(app, 201 if created else 200)


async def get(context: Context, call: Call[NoBody]) -> Answer:
    """An application; its secrets are only named."""
    return json_answer(await context.services.registry.get_app(call.caller, call.path[0]))


async def add_secret(context: Context, call: Call[EmptyRequest]) -> Answer:
    """Make one more signing secret, shown once. Two are valid at a time; a third retires the oldest."""
    return json_answer(await context.services.registry.add_secret(call.caller, call.path[0]), 201)


async def pull_checks(context: Context, call: Call[ChecksPullRequest]) -> Answer:
    """Fetch the questions that are due. Handed out is asked: each counts as a check."""
    asked = call.body
    work = context.services.checking.pull(call.caller, call.path[0], asked.max, asked.wait_seconds)
    checks = await (call.while_connected(work) if asked.wait_seconds else work)
    return json_answer(ChecksAnswer(checks=checks))


async def answer_checks(context: Context, call: Call[ChecksRequest]) -> Answer:
    """Say what became of the local transactions. One result per answer, in order."""
    return batch_answer(await context.services.checking.answer(call.caller, call.path[0], call.body.results))


ROUTES: Final[tuple[Route[Any], ...]] = (
    Route(
        method="PUT",
        path="/v1/apps/{app}",
        summary="Register an application",
        tag=Tag.APPLICATIONS,
        handler=put,
        body=AppRequest,
        answer=AppAnswer,
        created=True,
        problems=("invalid_app", "invalid_address"),
    ),
    Route(
        method="GET",
        path="/v1/apps/{app}",
        summary="Look at an application",
        tag=Tag.APPLICATIONS,
        handler=get,
        body=NoBody,
        answer=AppAnswer,
        problems=("unknown_app",),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/secrets",
        summary="Make a signing secret",
        tag=Tag.APPLICATIONS,
        handler=add_secret,
        body=EmptyRequest,
        answer=SecretAnswer,
        status=201,
        problems=("unknown_app",),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/checks/pull",
        summary="Fetch due checks",
        tag=Tag.CHECKS,
        handler=pull_checks,
        body=ChecksPullRequest,
        answer=ChecksAnswer,
        problems=("unknown_app", "invalid_max", "invalid_wait"),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/checks",
        summary="Answer checks",
        tag=Tag.CHECKS,
        handler=answer_checks,
        body=ChecksRequest,
        answer=BatchAnswer,
        problems=("unknown_app", "invalid_outcome"),
    ),
)
