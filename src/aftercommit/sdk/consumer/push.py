"""Deliveries as signed HTTP requests to a subscription's `push_url`, answered so that no outcome is invented.

| what became of it          | answer | what the service makes of it                                  |
|----------------------------|--------|---------------------------------------------------------------|
| completed, or a duplicate  | 200    | completed                                                     |
| failed                     | 422    | failed: it was reported before; if not, it is pushed again    |
| to come again              | 503    | pushed again by the topic's policy                            |
| nothing here takes it      | 404    | pushed again, and parked in the end: the address is wrong     |
| not signed by a secret     | 401    | the same                                                      |

A failed one is not answered with 200, because the service takes that for completed where the report was not heard. 410
is never answered: it would switch the subscription off.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aftercommit.sdk.consumer.delivery import Delivery, NotOurs
from aftercommit.sdk.consumer.handlers import NoHandler
from aftercommit.sdk.consumer.receipts import Receipt
from aftercommit.sdk.web import AsgiApp, Unacceptable, WebAnswer, WebRequest, WsgiApp, asgi_app, wsgi_app
from aftercommit.signatures import ID_HEADER, BadSignature, sign, verify

_log: Final = logging.getLogger("aftercommit.consumer")

_STATUSES: Final = {
    Receipt.COMPLETED: 200,
    Receipt.DUPLICATE: 200,
    Receipt.FAILED: 422,
    Receipt.RETRY_LATER: 503,
    Receipt.NOT_MEANT: 404,
}
# What belongs to the connection, and is no header of the publisher's.
_OF_THE_CONNECTION: Final = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})


class Push:
    """Verifies, reads and answers what the service pushes. Made by `AsyncConsumer.asgi` and `Consumer.wsgi`."""

    def __init__(
        self,
        secrets: Sequence[str],
        subscription: str | None,
        body_bytes_max: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`secrets`: those of the application, two while they are rotated; `()` takes unsigned requests from anybody.

        Raises TypeError for a single string or what is no text, `BadSecret` for what is no secret.
        """
        if isinstance(secrets, str):
            raise TypeError('secrets is a list, for there are two of them during a rotation: secrets=["whsec_..."].')
        self._secrets = tuple(secrets)
        if not all(isinstance(each, str) for each in self._secrets):
            raise TypeError("One of the secrets is no text: is the variable it is read from set?")
        if self._secrets:
            # A secret that is none must be found when the program starts, not when the first message comes.
            sign(self._secrets, "start", 0, b"")
        else:
            _log.warning("Pushed messages are taken from anybody: this consumer was given no secrets.")
        self._subscription = subscription
        self._body_bytes_max = body_bytes_max
        self._now = now

    def asgi(self, receive: Callable[[Delivery, str | None], Awaitable[Receipt]]) -> AsgiApp:
        """As an ASGI application."""

        async def respond(request: WebRequest) -> WebAnswer:
            delivery = self._delivery(request)
            try:
                return _answer(await receive(delivery, self._subscription))
            except NoHandler as error:
                raise _misdirected(error) from error

        return asgi_app(respond, body_bytes_max=self._body_bytes_max)

    def wsgi(self, receive: Callable[[Delivery, str | None], Receipt]) -> WsgiApp:
        """As a WSGI application."""

        def respond(request: WebRequest) -> WebAnswer:
            delivery = self._delivery(request)
            try:
                return _answer(receive(delivery, self._subscription))
            except NoHandler as error:
                raise _misdirected(error) from error

        return wsgi_app(respond, body_bytes_max=self._body_bytes_max)

    def _delivery(self, request: WebRequest) -> Delivery:
        if self._secrets:
            try:
                verify(self._secrets, request.headers, request.body, int(self._now()))
            except BadSignature as error:
                _log.warning("A pushed request was refused: %s", error)
                raise Unacceptable(401, str(error)) from error
        headers = {name: value for name, value in request.headers.items() if name not in _OF_THE_CONNECTION}
        try:
            delivery = Delivery.received(headers, request.body)
        except NotOurs as error:
            raise Unacceptable(400, str(error)) from error
        if self._secrets and request.headers[ID_HEADER] != delivery.id:
            # Headers are not signed. Without this, who saw one request could repeat it as another message.
            raise Unacceptable(401, f"{ID_HEADER} and aftercommit-id name different messages.")
        return delivery


def _answer(receipt: Receipt) -> WebAnswer:
    return WebAnswer.of(_STATUSES[receipt], {"receipt": receipt.value})


def _misdirected(error: NoHandler) -> Unacceptable:
    _log.error("A message was pushed to the wrong address: %s", error)
    return Unacceptable(404, str(error))
