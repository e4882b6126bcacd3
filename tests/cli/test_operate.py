"""`aftercommit message` and `aftercommit topic`: what they ask, and what they print."""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from tests.sdk.answering import ID, OTHER_ID, answered

AT = "2026-07-01T10:00:00.000Z"
SUMMARY: dict[str, Any] = {
    "id": ID,
    "app": "orders",
    "topic": "orders.created",
    "key": None,
    "status": "undelivered",
    "attempts": 12,
    "checks": 0,
    "prepared_at": AT,
    "confirmed_at": AT,
    "settled_at": None,
    "next_at": None,
    "error": "evil \x1b[31m text",
}
MESSAGE: dict[str, Any] = {
    **SUMMARY,
    "headers": {"tenant": "x"},
    "content_type": "application/json",
    "check_hint": None,
    "deliver_at": None,
    "sent_at": AT,
    "resolved_by": None,
    "replay_of": None,
    "deliveries": [
        {
            "subscription": "billing",
            "status": "undelivered",
            "attempts": 12,
            "sent_at": AT,
            "pulled_at": None,
            "settled_at": None,
            "next_at": None,
            "error": "no queue",
        }
    ],
    "timeline": [
        {"at": AT, "event": "prepared", "status": "pending_confirmation", "actor": "orders"},
        {"at": AT, "event": "deliveries_used_up", "status": "undelivered", "attempt": 12, "detail": "no queue"},
    ],
    "payload": {"order": 42},
}
TOPIC: dict[str, Any] = {
    "topic": "orders.created",
    "app": "orders",
    "paused": True,
    "subscriptions": [
        {"name": "billing", "app": "orders", "implicit": False, "policy": {"deliveries_max": 12}},
        {"name": "stock", "app": "shop", "implicit": False, "policy": {"deliveries_max": 3}},
    ],
    "policy": {"deliveries_max": 12, "redelivery_seconds": [60.0, 300.0]},
    "destination": None,
    "created_at": AT,
}


def page(*messages, next_cursor=None):
    return answered({"messages": list(messages), "next_cursor": next_cursor})


def asked(command_line):
    """The path, the query and the body of the only request."""
    [request] = command_line.transport.requests
    parts = urlsplit(request.url)
    query = {name: value for name, [value] in parse_qs(parts.query).items()}
    return parts.path, query, msgspec.json.decode(request.body) if request.body else None


def test_a_list_asks_for_what_was_narrowed_to(command_line):
    filters = ["--status", "undelivered", "--topic", "t", "--of-app", "orders", "--key", "42", "--error", "queue"]
    more = ["--q", "x", "--since", AT, "--until", AT, "--cursor", "1~a", "--limit", "7"]

    result = command_line.run("message", "list", *filters, *more, script=[page()])

    assert result.exit_code == 0
    assert asked(command_line) == (
        "/v1/messages",
        {
            "status": "undelivered",
            "topic": "t",
            "app": "orders",
            "key": "42",
            "error": "queue",
            "q": "x",
            "since": AT,
            "until": AT,
            "cursor": "1~a",
            "limit": "7",
        },
        None,
    )


def test_a_list_may_begin_so_long_ago(command_line):
    command_line.run("message", "list", "--since", "2h", script=[page()])

    since = datetime.fromisoformat(asked(command_line)[1]["since"])
    assert 7190 < (datetime.now(UTC) - since).total_seconds() < 7300


def test_a_list_is_columns_without_anything_that_steers_a_terminal(command_line):
    result = command_line.run("message", "list", script=[page(SUMMARY)])

    heading, row = result.stdout.splitlines()
    assert heading.split() == ["ID", "STATUS", "TOPIC", "KEY", "APP", "ATTEMPTS", "PREPARED", "NEXT", "ERROR"]
    assert re.split(r"\s{2,}", row) == [
        ID,
        "undelivered",
        "orders.created",
        "-",
        "orders",
        "12",
        AT,
        "-",
        "evil \N{REPLACEMENT CHARACTER}[31m text",
    ]


def test_an_empty_list_is_its_headings(command_line):
    assert len(command_line.run("message", "list", script=[page()]).stdout.splitlines()) == 1


def test_a_list_is_drawn_on_a_terminal(command_line):
    result = command_line.run("message", "list", script=[page(SUMMARY)], env={"FORCE_COLOR": "1", "COLUMNS": "200"})

    assert "\x1b[1m" in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert ID in result.stdout


def test_a_list_follows_the_pages_until_it_has_enough_and_tells_how_to_go_on(command_line):
    script = [page(SUMMARY, next_cursor="1~a"), page(next_cursor="2~b"), page(SUMMARY, next_cursor="3~c")]

    result = command_line.run("message", "list", "--limit", "2", script=script)

    assert [request.url.rpartition("limit=")[2] for request in command_line.transport.requests] == [
        "2",
        "1&cursor=1~a",
        "1&cursor=2~b",
    ]
    assert len(result.stdout.splitlines()) == 3
    assert "--cursor '3~c'" in result.stderr


def test_no_page_is_larger_than_the_service_allows(command_line):
    command_line.run("message", "list", "--limit", "5000", script=[page()])

    assert asked(command_line)[1]["limit"] == "200"


def test_a_list_as_json_is_one_document_whatever_the_number_of_pages(command_line):
    script = [page(SUMMARY, next_cursor="1~a"), page({**SUMMARY, "id": OTHER_ID})]

    result = command_line.run("message", "list", "--json", script=script)

    assert msgspec.json.decode(result.stdout) == {
        "messages": [SUMMARY, {**SUMMARY, "id": OTHER_ID}],
        "next_cursor": None,
    }


def test_a_message_is_shown_with_its_deliveries_and_its_timeline_but_not_its_payload(command_line):
    result = command_line.run("message", "show", ID, script=[answered(MESSAGE)])

    assert asked(command_line) == (f"/v1/messages/{ID}", {}, None)
    lines = result.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[0]) == ["id", ID]
    assert "payload       12 bytes, application/json" in result.stdout
    assert lines.index("Deliveries") < lines.index("Timeline")
    assert re.split(r"\s{2,}", lines[-1]) == [
        AT,
        "deliveries_used_up",
        "undelivered",
        "-",
        "12",
        "-",
        "no queue",
    ]
    assert "42" not in result.stdout


def test_a_message_as_json_has_its_payload(command_line):
    result = command_line.run("message", "show", ID, "--json", script=[answered(MESSAGE)])

    assert msgspec.json.decode(result.stdout) == MESSAGE


def test_a_tombstone_can_be_shown(command_line):
    empty: dict[str, Any] = {
        "topic": None,
        "content_type": None,
        "deliveries": [],
        "timeline": [],
        "headers": {},
        "sent_at": None,
    }
    tombstone = {name: value for name, value in {**MESSAGE, **empty}.items() if name != "payload"}

    result = command_line.run("message", "show", ID, script=[answered(tombstone)])

    assert result.exit_code == 0
    assert "payload" not in result.stdout


ACTIONS = [
    (["resolve", ID, "committed", "--reason", "saw it"], "resolve", {"outcome": "committed", "reason": "saw it"}),
    (["recheck", ID], "recheck", {}),
    (["redeliver", ID], "redeliver", {}),
    (
        ["redeliver", ID, "--subscription", "billing", "--subscription", "stock", "--reason", "fixed"],
        "redeliver",
        {"subscriptions": ["billing", "stock"], "reason": "fixed"},
    ),
    (["discard", ID, "--reason", "obsolete"], "discard", {"reason": "obsolete"}),
]


@pytest.mark.parametrize(("arguments", "verb", "body"), ACTIONS)
def test_an_action_is_asked_for_and_its_status_printed(command_line, arguments, verb, body):
    result = command_line.run("message", *arguments, script=[answered({"id": ID, "status": "pending_send"})])

    assert asked(command_line) == (f"/v1/messages/{ID}/{verb}", {}, body)
    assert result.stdout == f"{ID}: pending_send\n"


@pytest.mark.parametrize(("arguments", "verb", "body"), ACTIONS)
def test_an_action_as_json_is_the_answer(command_line, arguments, verb, body):
    answer = {"id": ID, "status": "pending_send"}

    result = command_line.run("message", *arguments, "--json", script=[answered(answer)])

    assert msgspec.json.decode(result.stdout) == answer


def test_a_message_that_is_sent_again_as_a_new_one_is_named(command_line):
    result = command_line.run(
        "message", "redeliver", ID, script=[answered({"id": OTHER_ID, "status": "pending_send"}, 201)]
    )

    assert result.stdout == f"{ID} is sent again as {OTHER_ID}: pending_send\n"


def test_topics_are_listed_with_foreign_subscriptions_marked(command_line):
    result = command_line.run("topic", "list", script=[answered({"topics": [TOPIC]})])

    assert re.split(r"\s{2,}", result.stdout.splitlines()[1]) == [
        "orders.created",
        "orders",
        "yes",
        "billing, stock:shop",
    ]


def test_topics_as_json_are_one_document(command_line):
    result = command_line.run("topic", "list", "--json", script=[answered({"topics": [TOPIC]})])

    assert msgspec.json.decode(result.stdout)["topics"][0]["topic"] == "orders.created"


def test_a_topic_is_shown_with_its_policy_and_what_differs_from_it(command_line):
    result = command_line.run("topic", "show", "orders.created", script=[answered(TOPIC)])

    assert asked(command_line) == ("/v1/topics/orders.created", {}, None)
    assert re.search(r"^billing +orders +no +-$", result.stdout, re.M)
    assert re.search(r"^stock +shop +no +deliveries_max=3$", result.stdout, re.M)
    assert re.search(r"^redelivery_seconds +60, 300$", result.stdout, re.M)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_topic_is_paused_and_resumed(command_line, verb):
    result = command_line.run("topic", verb, "t", "--json", script=[answered(TOPIC)])

    assert asked(command_line) == (f"/v1/topics/t/{verb}", {}, {})
    assert msgspec.json.decode(result.stdout)["paused"] is True


def test_a_topic_is_set(command_line):
    policies = ["deliveries_max=5", "redelivery_seconds=60,300.5", "check_after_seconds=1.5"]

    command_line.run(
        "topic",
        "set",
        "t",
        "--subscription",
        "billing",
        "--subscription",
        "stock:shop",
        *[part for each in policies for part in ("--policy", each)],
        "--force",
        script=[answered(TOPIC, 201)],
    )

    assert asked(command_line) == (
        "/v1/topics/t",
        {},
        {
            "subscriptions": [{"name": "billing"}, {"name": "stock", "app": "shop"}],
            "policy": {"deliveries_max": 5, "redelivery_seconds": [60, 300.5], "check_after_seconds": 1.5},
            "force": True,
        },
    )


@pytest.mark.parametrize("value", ["60", "[60]"])
def test_one_redelivery_interval_is_a_list_of_one(command_line, value):
    command_line.run("topic", "set", "t", "--policy", f"redelivery_seconds={value}", script=[answered(TOPIC)])

    assert asked(command_line)[2] == {"policy": {"redelivery_seconds": [60]}}


def test_what_is_not_said_of_a_topic_is_not_sent(command_line):
    command_line.run("topic", "set", "t", script=[answered(TOPIC)])

    assert asked(command_line)[2] == {}


def test_the_connection_comes_from_the_environment_and_options_win(command_line):
    env = {"AFTERCOMMIT_URL": "http://one:1", "AFTERCOMMIT_APP": "env", "AFTERCOMMIT_KEY": "secret"}

    command_line.run("topic", "list", "--url", "https://two", script=[answered({"topics": []})], env=env)

    [request] = command_line.transport.requests
    assert request.url == "https://two/v1/topics"
    assert request.headers["aftercommit-app"] == "env"
    assert request.headers["authorization"] == "Bearer secret"
    assert command_line.transport.closed
