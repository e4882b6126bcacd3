"""Check-back over HTTP: a signed POST to the initiator's address, and great distrust of what comes back."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from yarl import URL

from aftercommit import __version__
from aftercommit.checkbacks.addresses import allowed
from aftercommit.checkbacks.answers import Unusable, read_results, unknown
from aftercommit.domain.catalog import App
from aftercommit.ports.checkback import Question, Verdict
from aftercommit.ports.clock import Clock
from aftercommit.ports.observer import Observer
from aftercommit.signatures import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    BadSecret,
    BadSignature,
    sign,
    verify,
)
from aftercommit.wire import CHECKS_PER_CALL_MAX, Check, CheckCall, rfc3339

DEADLINE_SECONDS: Final = 5.0
ANSWER_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 256
_JSON: Final = "application/json"


class HttpCheckback:
    """`ports.checkback.Checkback` by POST to `app.check_url` (protocol, section 4).

    `new_id` makes an id no other call has. `deadline_seconds` covers everything from looking up the host to the last
    byte. Belongs to one event loop. Calls are counted as `check_calls`: `answered`, `unusable` (an answer that counts
    for nothing), `late`, `broken` (the connection failed), `not_made` (nothing could be asked).
    """

    def __init__(
        self,
        *,
        clock: Clock,
        observer: Observer,
        new_id: Callable[[], str],
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._clock = clock
        self._observer = observer
        self._new_id = new_id
        self._deadline_seconds = deadline_seconds
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def ask(self, app: App, questions: Sequence[Question]) -> list[Verdict]:
        """Ask `app` about up to 100 messages in one call; one verdict per question, in order.

        Never raises for what the other side does: everything that is not a definitive, authentic answer in time is
        `unknown`, with a `detail` that holds no word of the other side's.
        """
        if len(questions) > CHECKS_PER_CALL_MAX:
            raise ValueError(f"{len(questions)} questions in one call; at most {CHECKS_PER_CALL_MAX} are allowed.")
        if not questions:
            return []
        obstacle = "the service is stopping" if self._closed else _obstacle(app)
        if obstacle is not None:
            return self._unknown(questions, "not_made", obstacle, made=False)
        body = _WatchedBody(msgspec.json.encode(_call(questions)), content_type=_JSON)
        return await self._ask(app, questions, body)

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, app: App, questions: Sequence[Question], body: "_WatchedBody") -> list[Verdict]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                answer = await self._exchange(app, body)
            verdicts = read_results(answer, questions)
        except BadSecret:
            return self._unknown(questions, "not_made", "the application's signing secret is malformed", made=False)
        except TimeoutError:
            detail = f"no answer within {self._deadline_seconds:g} s"
            return self._unknown(questions, "late", detail, made=body.written)
        except Unusable as error:
            # Whoever answers was asked, even if it did not read to the end.
            return self._unknown(questions, "unusable", str(error), made=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._unknown(questions, "broken", _told(error, written=body.written), made=body.written)
        except Exception as error:
            # One initiator must not stop the checks of all others, whatever it made a library do; but it is a bug.
            self._observer.alert("check_call_failed", f"A check of {app.name} failed: {type(error).__name__}: {error}.")
            return self._unknown(questions, "broken", "the call failed", made=body.written)
        self._observer.count("check_calls", result="answered")
        return verdicts

    async def _exchange(self, app: App, body: "_WatchedBody") -> bytes:
        """Make the call; returns the body of an authentic answer, or raises."""
        message_id = f"msg_{self._new_id()}"
        secrets = [each.value for each in app.secrets]
        headers = self._headers(message_id, secrets, body.value)
        url = URL(app.check_url or "", encoded=True)
        async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as response:
            _require_usable(response)
            answer = await _read(response)
            if app.check_signed:
                self._require_signed(response, secrets, message_id, answer)
            return answer

    def _headers(self, message_id: str, secrets: Sequence[str], body: bytes) -> dict[str, str]:
        now_seconds = self._clock.now() // 1000
        headers = {
            ID_HEADER: message_id,
            TIMESTAMP_HEADER: str(now_seconds),
            "content-type": _JSON,
            "accept": _JSON,
            "accept-encoding": "identity",
            "user-agent": f"aftercommit/{__version__}",
        }
        if secrets:
            headers[SIGNATURE_HEADER] = sign(secrets, message_id, now_seconds, body)
        return headers

    def _require_signed(
        self, response: aiohttp.ClientResponse, secrets: Sequence[str], message_id: str, answer: bytes
    ) -> None:
        names = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
        headers = {name: response.headers.get(name, "") for name in names}
        if not headers[SIGNATURE_HEADER]:
            raise Unusable("the answer is not signed")
        if headers[ID_HEADER] != message_id:
            raise Unusable("the answer is signed for another call")
        try:
            verify(secrets, headers, answer, self._clock.now() // 1000)
        except BadSignature:
            raise Unusable("the answer's signature is wrong") from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # A connection per call: one that the other side is just closing would look like an unanswered check.
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                # The one deadline is ours; no part of a call has another.
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _unknown(self, questions: Sequence[Question], result: str, detail: str, *, made: bool) -> list[Verdict]:
        self._observer.count("check_calls", result=result)
        return unknown(questions, detail, made=made)


class _WatchedBody(aiohttp.BytesPayload):
    """A request body that knows whether all of it was handed to the system: from then on the check was made."""

    def __init__(self, value: bytes, *, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self.value = value
        self.written = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body and wait until no byte of it is left in this process."""
        if isinstance(writer, StreamWriter) and writer.transport is not None:
            writer.transport.set_write_buffer_limits(high=0)
        await super().write_with_length(writer, content_length)
        await writer.drain()
        self.written = True


def _obstacle(app: App) -> str | None:
    """Why `app` cannot be asked at all."""
    if app.check_url is None:
        return "the application has no check address"
    if not allowed(app.check_url):
        return "the check address is not allowed"
    if app.check_signed and not app.secrets:
        return "answers must be signed, but the application has no signing secret"
    return None


def _call(questions: Sequence[Question]) -> CheckCall:
    return CheckCall(
        checks=[
            Check(
                id=each.id,
                topic=each.topic,
                key=each.key,
                hint=each.hint,
                prepared_at=rfc3339(each.prepared_at),
                check=each.check,
            )
            for each in questions
        ]
    )


def _require_usable(response: aiohttp.ClientResponse) -> None:
    """Raise `Unusable` for an answer that counts for nothing whatever its body says."""
    if 300 <= response.status < 400:
        raise Unusable(f"redirect {response.status}, which is not followed")
    if response.status != 200:
        raise Unusable(f"status {response.status}")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unusable("the answer is compressed")
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise Unusable("the answer's content type is not application/json")
    if (response.content_length or 0) > ANSWER_BYTES_MAX:
        raise Unusable("the answer is over 64 KiB")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > ANSWER_BYTES_MAX:
            raise Unusable("the answer is over 64 KiB")
    return bytes(answer)


def _told(error: Exception, *, written: bool) -> str:
    """What went wrong with the connection, in our words: the library's may repeat the other side's."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host of the check address was not found"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS could not be established"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not HTTP"
    return "the connection broke before a whole answer came" if written else "no connection could be made"
