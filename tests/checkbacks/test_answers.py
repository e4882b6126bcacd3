"""Only an answer of exactly the agreed shape counts, and no outcome is guessed from anything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercommit.checkbacks.answers import Unusable, read_results
from aftercommit.domain.commands import CheckOutcome
from tests.checkbacks.conftest import ask_about
from tests.checkbacks.initiators import results

COMMITTED, ROLLED_BACK, UNKNOWN = CheckOutcome.COMMITTED, CheckOutcome.ROLLED_BACK, CheckOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("said", "outcome", "why"),
    [
        ([("a", "committed")], COMMITTED, None),
        ([("a", "rolled_back")], ROLLED_BACK, None),
        ([("a", "unknown")], UNKNOWN, "answered unknown"),
        ([], UNKNOWN, "leaves it out"),
        ([("b", "committed"), ("A", "committed"), ("a ", "committed")], UNKNOWN, "leaves it out"),
        ([("a", "committed"), ("a", "committed")], COMMITTED, None),
        ([("a", "committed"), ("a", "rolled_back")], UNKNOWN, "contradicts"),
        ([("a", "rolled_back"), ("b", "committed"), ("a", "committed")], UNKNOWN, "contradicts"),
        ([("a", "committed"), ("a", "unknown")], UNKNOWN, "contradicts"),
        ([("a", "committed"), ("a", "perhaps")], UNKNOWN, "contradicts"),
        ([("a", "COMMITTED")], UNKNOWN, "no word"),
        ([("a", "commit")], UNKNOWN, "no word"),
        ([("a", "")], UNKNOWN, "no word"),
    ],
)
def test_what_an_answer_says_about_a_question(said, outcome, why):
    [verdict] = read_results(results(said), ask_about("a"))

    assert (verdict.id, verdict.outcome, verdict.made) == ("a", outcome, True)
    assert (verdict.detail is None) == (why is None)
    assert (why or "") in (verdict.detail or "")


def test_one_bad_result_does_not_spoil_the_others():
    verdicts = read_results(results({"a": "perhaps", "c": "committed"}), ask_about("a", "b", "c"))

    assert [each.outcome for each in verdicts] == [UNKNOWN, UNKNOWN, COMMITTED]


GOOD = '{"results": [{"id": "a", "outcome": "committed"}]}'
MALFORMED = [
    (b"", "not JSON"),
    (b"committed", "not JSON"),
    (GOOD.encode() + b"}", "not JSON"),
    (GOOD.encode() * 2, "not JSON"),
    (GOOD.encode()[:-1], "not JSON"),
    (b"\xef\xbb\xbf" + GOOD.encode(), "not JSON"),
    (GOOD.encode("utf-16"), "not UTF-8"),
    (GOOD.replace("committed", "\xff").encode("latin-1"), "not UTF-8"),
    (b'{"results": [], "x": "\xed\xa0\x80"}', "not UTF-8"),
    (GOOD.replace('"a"', "NaN").encode(), "not JSON"),
    (GOOD.replace('"a"', "Infinity").encode(), "not JSON"),
    (GOOD.replace('"a"', "-Infinity").encode(), "not JSON"),
    (GOOD.replace('"a"', "1" * 5000).encode(), "not JSON"),
    (GOOD.replace('"a"', "01").encode(), "not JSON"),
    (GOOD.replace("'", '"').replace('"a"', "'a'").encode(), "not JSON"),
    (GOOD.replace('"id"', '"id": "b", "id"').encode(), "not JSON"),
    (GOOD.replace('"outcome"', '"outcome": "rolled_back", "outcome"').encode(), "not JSON"),
    (GOOD.replace('"results"', '"results": [], "results"').encode(), "not JSON"),
    (b"[" * 60_000, "not JSON"),
    (b'{"results": ' * 5_000, "not JSON"),
    (b"null", "another shape"),
    (b"[]", "another shape"),
    (b'"committed"', "another shape"),
    (b"{}", "another shape"),
    (b'{"results": null}', "another shape"),
    (b'{"results": {}}', "another shape"),
    (b'{"results": [[]]}', "another shape"),
    (b'{"results": ["a"]}', "another shape"),
    (b'{"results": [{"id": "a"}]}', "another shape"),
    (b'{"results": [{"outcome": "committed"}]}', "another shape"),
    (GOOD.replace('"a"', "1").encode(), "another shape"),
    (GOOD.replace('"committed"', "true").encode(), "another shape"),
    (GOOD.replace('"committed"', '["committed"]').encode(), "another shape"),
    (GOOD.replace('"committed"', '"committed", "junk": {"a": [{}]}').encode(), "another shape"),
    (GOOD.replace("]", '], "error": "parking page"').encode(), "another shape"),
]


@pytest.mark.parametrize(("body", "why"), MALFORMED, ids=[ascii(body[:40]) for body, _ in MALFORMED])
def test_what_is_not_exactly_the_agreed_shape_counts_for_nothing(body, why):
    with pytest.raises(Unusable, match=why):
        read_results(body, ask_about("a"))


@given(st.binary())
def test_no_bytes_make_it_raise_anything_else(body):
    with pytest.raises(Unusable):
        read_results(body, ask_about("a"))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["committed", "rolled_back", "unknown", "x"]))),
    st.lists(st.sampled_from("abcd"), unique=True),
)
def test_a_definitive_verdict_is_what_every_result_for_that_id_says(said, asked):
    verdicts = read_results(results(said), ask_about(*asked))

    assert [each.id for each in verdicts] == asked
    for verdict in verdicts:
        words = {outcome for each, outcome in said if each == verdict.id}
        assert (verdict.outcome is UNKNOWN) == (words not in ({"committed"}, {"rolled_back"}))
        assert verdict.outcome is UNKNOWN or words == {verdict.outcome.value}


def test_an_answer_with_escapes_is_read_like_any_other():
    body = json.dumps({"results": [{"id": "a", "outcome": "committed"}]}).replace("committed", "\\u0063ommitted")
    [verdict] = read_results(body.encode(), ask_about("a"))
    assert verdict.outcome is COMMITTED
