"""Our signatures are the official ones, in both directions, and nothing else passes."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from aftercommit.signatures import BadSecret, BadSignature, new_secret, sign, verify

NOW = 1_760_000_000
BODY = '{"results":[{"id":"ü","outcome":"committed"}]}'.encode()
OLD = new_secret(b"o" * 24)
NEW = new_secret(b"n" * 64)
FOREIGN = new_secret(b"f" * 32)


def signed(*secrets: str, message_id: str = "msg_1", timestamp: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, message_id, timestamp, body),
    }


def refused(headers: dict[str, str], body: bytes = BODY, secrets: tuple[str, ...] = (OLD, NEW)) -> str:
    with pytest.raises(BadSignature) as caught:
        verify(secrets, headers, body, NOW)
    return str(caught.value)


def test_a_secret_is_marked_base64():
    assert new_secret(bytes(range(24))) == "whsec_" + base64.b64encode(bytes(range(24))).decode()


@pytest.mark.parametrize("length", [0, 23, 65])
def test_a_secret_of_another_length_is_refused(length):
    with pytest.raises(BadSecret, match="24 to 64"):
        new_secret(bytes(length))


@given(st.binary(min_size=24, max_size=64), st.from_regex(r"msg_[A-Za-z0-9_-]{1,40}", fullmatch=True), st.text())
def test_what_we_sign_is_what_the_official_package_signs(key, message_id, text):
    secret = new_secret(key)
    official = Webhook(secret).sign(message_id, datetime.fromtimestamp(NOW, UTC), text)
    assert sign([secret], message_id, NOW, text.encode()) == official


def test_the_official_package_accepts_what_we_sign_with_two_secrets():
    now = int(datetime.now(UTC).timestamp())
    headers = signed(OLD, NEW, timestamp=now)

    for secret in (OLD, NEW):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(FOREIGN).verify(BODY, headers)


def test_we_accept_what_the_official_package_signs():
    official = Webhook(OLD).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())

    verify([OLD, NEW], {**signed(FOREIGN), "webhook-signature": official}, BODY, NOW)


@pytest.mark.parametrize("theirs", [(OLD,), (NEW,), (OLD, NEW), (FOREIGN, NEW)])
@pytest.mark.parametrize("ours", [(OLD, NEW), (NEW, OLD)])
def test_during_a_rotation_one_common_secret_is_enough(ours, theirs):
    verify(ours, signed(*theirs), BODY, NOW)


def test_another_secret_is_refused():
    assert "secret" in refused(signed(FOREIGN))
    assert "secret" in refused(signed(OLD), secrets=(NEW,))
    assert "secret" in refused(signed(OLD), secrets=())


def test_any_change_is_refused():
    headers = signed(OLD)

    refused(headers, BODY + b" ")
    refused(headers, b"")
    refused({**headers, "webhook-id": "msg_2"})
    refused({**headers, "webhook-timestamp": str(NOW + 1)})
    refused({**headers, "webhook-timestamp": f"0{NOW}"})


@pytest.mark.parametrize("offset", [-300, 300])
def test_the_tolerance_is_inclusive(offset):
    verify([OLD], signed(OLD, timestamp=NOW + offset), BODY, NOW)


@pytest.mark.parametrize("offset", [-301, 301, -NOW])
def test_a_stale_or_future_signature_is_refused(offset):
    assert "300 seconds" in refused(signed(OLD, timestamp=NOW + offset))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_header_is_refused(name, value):
    headers = signed(OLD)
    del headers[name]
    assert "not signed" in refused(headers if value is None else {**headers, name: value})


GARBAGE = [
    "\x00",
    "é",
    "٣",
    "\udcff",
    "a.b",
    "a b",
    "x" * 5000,
    "9" * 5000,
    "-1",
    "1.5",
    "1e9",
    "nan",
    ",",
    "v1,",
    ", ,",
]


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("garbage", GARBAGE, ids=ascii)
def test_a_garbage_header_is_refused(name, garbage):
    refused({**signed(OLD), name: garbage})


@pytest.mark.parametrize("version", ["v0", "v1a", "v2", "V1", "", " v1", "v11"])
def test_another_version_is_refused(version):
    headers = signed(OLD)
    value = headers["webhook-signature"].removeprefix("v1")
    headers["webhook-signature"] = f"{version}{value}" if version != " v1" else f"v 1{value}"
    assert "no v1 signature" in refused(headers)


def test_unknown_versions_beside_a_good_signature_are_ignored():
    headers = signed(OLD)
    headers["webhook-signature"] = f"v1a,xyz junk {headers['webhook-signature']} v2,abc"
    verify([OLD], headers, BODY, NOW)


@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
        st.text(st.characters()) | st.just(str(NOW)),
    ),
    st.binary(),
)
def test_whatever_arrives_is_refused_with_a_sentence_and_nothing_else(headers, body):
    with pytest.raises(BadSignature):
        verify([OLD, NEW], headers, body, NOW)


MALFORMED = {
    "no prefix": base64.b64encode(b"o" * 24).decode(),
    "other prefix": OLD.replace("whsec_", "whpk_"),
    "not base64": "whsec_" + "!" * 32,
    "not ASCII": "whsec_" + "é" * 32,
    "no padding": OLD[:-2] + "b",
    "too short": "whsec_" + base64.b64encode(b"o" * 23).decode(),
    "too long": "whsec_" + base64.b64encode(b"o" * 65).decode(),
    "empty": "",
}


@pytest.mark.parametrize("secret", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_secret_is_named_as_such_and_not_repeated(secret):
    with pytest.raises(BadSecret) as caught:
        sign([secret], "msg_1", NOW, BODY)
    assert not secret or secret not in str(caught.value)

    with pytest.raises(BadSecret):
        verify([secret], signed(OLD), BODY, NOW)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "é", "x" * 257, "a\n"])
def test_an_id_that_could_be_read_in_two_ways_is_not_signed(message_id):
    with pytest.raises(ValueError, match="cannot be signed"):
        sign([OLD], message_id, NOW, BODY)


def test_nothing_is_signed_without_a_secret():
    with pytest.raises(ValueError, match="without a secret"):
        sign([], "msg_1", NOW, BODY)
