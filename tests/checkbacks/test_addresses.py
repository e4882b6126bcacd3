"""Only plain http and https addresses are called."""

import pytest

from aftercommit.checkbacks.addresses import allowed, require_address
from aftercommit.domain.errors import Invalid

GOOD = [
    "http://localhost/",
    "http://127.0.0.1:8000/checks",
    "https://orders.example.com/aftercommit/checks?tenant=1&b=%20",
    "HTTPS://EXAMPLE.COM",
    "http://[::1]:8000/",
    "https://example.com:65535/@me",
]
BAD = [
    "",
    " ",
    "/checks",
    "//example.com/",
    "example.com",
    "example.com:80/checks",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "http:",
    "http://",
    "http:///path",
    "http://:80/",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://:@example.com/",
    "http://@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com/#fragment",
    "http://example.com/#",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:x/",
    "http://example.com:-1/",
    "http://example.com\\@127.0.0.1/",
    "http://exa mple.com/",
    "http://example.com/\r\nx: y",
    "http://example.com/\t",
    "http://example.com/\x00",
    "http://exämple.com/",
    "http://example.com/ä",
    "http://①②⑦.0.0.1/",
    "http://[::1/",
    "http://[example]/",
    "https://example.com/" + "x" * 2048,
]


@pytest.mark.parametrize("url", GOOD)
def test_a_plain_address_is_allowed(url):
    assert allowed(url)
    require_address(url)


@pytest.mark.parametrize("url", BAD, ids=ascii)
def test_anything_else_is_refused_with_a_sentence(url):
    assert not allowed(url)
    with pytest.raises(Invalid, match="cannot be called: ") as caught:
        require_address(url)
    assert caught.value.code == "invalid_address"
