"""Which addresses the service calls: asked when one is registered, and again before each call."""

import re
from typing import Final

from yarl import URL

from aftercommit.domain.errors import Invalid

URL_LENGTH_MAX: Final = 2048
# Printable ASCII only, and no backslash: what programs read in different ways is not called at all.
_UNAMBIGUOUS: Final = re.compile(r"[!-\[\]-~]+")


def allowed(url: str) -> bool:
    """Whether the service may call `url`: http or https, a host, no user-info, no fragment."""
    return _objection(url) is None


def require_address(url: str) -> None:
    """Raise `Invalid` (`invalid_address`), saying why, unless `url` is allowed."""
    objection = _objection(url)
    if objection is not None:
        raise Invalid("invalid_address", f"The address cannot be called: {objection}.", "/check_url")


def _objection(url: str) -> str | None:
    if len(url) > URL_LENGTH_MAX:
        return f"it is longer than {URL_LENGTH_MAX} characters"
    if not _UNAMBIGUOUS.fullmatch(url):
        return "it is empty or has characters that must be escaped"
    try:
        # The parser that also makes the connection: there is no second opinion to disagree with.
        parsed = URL(url, encoded=True)
        port = parsed.port
    except ValueError:
        return "it is not a URL"
    if parsed.scheme not in ("http", "https"):
        return "it is neither http nor https"
    if not parsed.raw_host or not port:
        return "it has no host, or no usable port"
    if "@" in parsed.raw_authority:
        return "it has a user name or password in it"
    if "#" in url:
        return "it has a fragment"
    return None
