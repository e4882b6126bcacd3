"""The log has one line per event, and never what must not be in it."""

import io
import json
import logging

import pytest
import structlog

from aftercommit.telemetry.log import ALERTS_PER_MINUTE_MAX, TEXT_MAX, AlertLog, clean, configure_log
from aftercommit.testing.clock import ManualClock

ROOT = logging.getLogger()


@pytest.fixture
def stream():
    """Where the log goes; the process's own logging is put back afterwards."""
    handlers, level = ROOT.handlers[:], ROOT.level
    yield io.StringIO()
    ROOT.handlers[:] = handlers
    ROOT.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_json_has_time_level_logger_event_and_fields(stream):
    configure_log("info", "json", stream)

    structlog.stdlib.get_logger("aftercommit.node").info("The node is ready.", port=8340)

    [line] = lines(stream)
    assert line.pop("timestamp", "")
    assert line == {"level": "info", "logger": "aftercommit.node", "event": "The node is ready.", "port": 8340}


def test_a_line_on_the_console_reads_from_left_to_right(stream):
    configure_log("info", "console", stream)

    structlog.stdlib.get_logger("aftercommit.node").info("The node is ready.", port=8340, database="a file", empty="")

    [line] = stream.getvalue().splitlines()
    assert line.endswith('Z info     aftercommit.node The node is ready. port=8340 database="a file" empty=""')


def test_libraries_log_in_the_same_shape(stream):
    configure_log("info", "json", stream)

    logging.getLogger("aiohttp.client").warning("Unclosed %s", "session")

    [line] = lines(stream)
    assert (line["level"], line["logger"], line["event"]) == ("warning", "aiohttp.client", "Unclosed session")


def test_every_line_of_one_of_several_workers_carries_its_number(stream):
    configure_log("info", "json", stream, worker=2)

    structlog.stdlib.get_logger("aftercommit.node").info("The node is ready.")
    logging.getLogger("aiohttp.client").warning("Unclosed session")

    assert [line["worker"] for line in lines(stream)] == [2, 2]


def test_the_level_is_a_threshold(stream):
    configure_log("warning", "json", stream)

    structlog.stdlib.get_logger("a").info("not this")
    logging.getLogger("b").info("nor this")
    structlog.stdlib.get_logger("a").error("this")

    assert [line["event"] for line in lines(stream)] == ["this"]


def test_configuring_twice_does_not_log_twice(stream):
    configure_log("info", "json", stream)
    configure_log("info", "json", stream)

    structlog.stdlib.get_logger("a").info("once")

    assert len(lines(stream)) == 1


@pytest.mark.parametrize(("level", "log_format"), [("loud", "json"), ("info", "xml"), ("", "json"), ("info", "")])
def test_another_level_or_format_is_refused(level, log_format):
    with pytest.raises(ValueError, match="There is no log"):
        configure_log(level, log_format)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_text_can_forge_a_line_or_steer_a_terminal(stream, log_format):
    configure_log("info", log_format, stream)
    nasty = "x\nerror forged\r\x1b[31m\x00\x9b\u2028\u202e\udcff\t"

    structlog.stdlib.get_logger("a").warning(nasty, **{nasty: nasty})
    logging.getLogger("b").warning("%s", nasty)

    assert len(stream.getvalue().splitlines()) == 2
    assert not set(stream.getvalue()) & set(nasty) - set("x error forged[31m\n")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_shown_with_its_trace_and_cannot_forge_a_line_either(stream, log_format):
    configure_log("info", log_format, stream)
    try:
        raise ValueError("first\n2026-01-01 error forged")
    except ValueError as error:
        structlog.stdlib.get_logger("a").exception("It failed.", error=error)

    written = stream.getvalue()
    assert "Traceback" in written
    assert "forged" in written
    assert not any(line.startswith("2026-01-01") for line in written.splitlines())


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_planted_secrets_do_not_come_out(stream, log_format):
    configure_log("info", log_format, stream)
    log = structlog.stdlib.get_logger("a")

    log.info(
        "event", payload="CANARY", body=b"CANARY", headers={"x": "CANARY"}, Authorization="CANARY", secret="CANARY"
    )
    log.info("signed with whsec_CANARYCANARYCANARY= at https://user:CANARY@example.com/x", auth="Bearer CANARY")
    log.info("event", record={"payload": "CANARY"}, many=["CANARY"], data=b"CANARY")
    logging.getLogger("b").info("Authorization: Basic CANARY")
    try:
        raise OSError("cannot connect to postgresql://aftercommit:CANARY@db/x")
    except OSError as error:
        log.exception("failed", error=error)

    assert "CANARY" not in stream.getvalue()
    assert "example.com" in stream.getvalue()


def test_long_texts_are_cut_without_leaving_half_a_secret():
    cut = clean(None, "info", {"event": "x" * (TEXT_MAX - 20) + "amqp://guest:" + "s" * 50 + "@rabbit" + "y" * 5000})

    assert len(cut["event"]) < TEXT_MAX + 30
    assert "ss" not in cut["event"]
    assert "more]" in cut["event"]


def test_numbers_stay_numbers():
    assert clean(None, "info", {"a": 1, "b": 0.5, "c": True, "d": None}) == {"a": 1, "b": 0.5, "c": True, "d": None}


def test_an_alert_is_a_warning_with_its_labels(stream):
    configure_log("info", "json", stream)

    AlertLog(clock=ManualClock())("loop_failed", "A round failed.", {"loop": "check", "event": "x"})

    [line] = lines(stream)
    assert (line["level"], line["event"], line["alert"]) == ("warning", "A round failed.", "loop_failed")
    assert (line["label_loop"], line["label_event"]) == ("check", "x")


def test_a_flood_of_alerts_is_cut_off_per_name_and_told_when_it_is_over(stream):
    configure_log("info", "json", stream)
    clock = ManualClock()
    alerts = AlertLog(clock=clock)

    for _ in range(ALERTS_PER_MINUTE_MAX + 40):
        alerts("flood", "again", {})
    alerts("other", "once", {})
    assert len(lines(stream)) == ALERTS_PER_MINUTE_MAX + 1

    clock.advance(60)
    alerts("flood", "later", {})
    alerts("flood", "and later", {})
    assert [line.get("left_out") for line in lines(stream)[-2:]] == [40, None]
