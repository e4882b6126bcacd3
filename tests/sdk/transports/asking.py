"""What a test of the transports asks, and the blocking one in the form of the other."""

import asyncio
import ssl
from pathlib import Path

from aftercommit.sdk.clients.exchange import Request
from aftercommit.sdk.transports.http_transport import HttpTransport

HOPELESSLY_LONG = 30


# For 127.0.0.1, signed by itself, with its key.
CERTIFICATE = Path(__file__).with_name("certificate.pem")


def request(url, body=b"{}", seconds=HOPELESSLY_LONG):
    return Request("POST", url, {"content-type": "application/json"}, body, seconds)


def secure_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


class Blocking:
    """The blocking transport, looked at like the awaitable one."""

    def __init__(self, **options):
        self._transport = HttpTransport(**options)

    async def send(self, asked):
        return await asyncio.to_thread(self._transport.send, asked)

    async def close(self):
        self._transport.close()
