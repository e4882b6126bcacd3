"""The frame of the node's plain pages: one file each, with one style sheet inside and no script."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent); --accent: light-dark(#0b5d48, #6fd3b3); }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 6rem; font: 1rem/1.55 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; letter-spacing: -.02em; }
h2 { margin: 3rem 0 .25rem; font-size: 1.3rem; text-transform: capitalize; }
a { color: var(--accent); }
code, pre { font: .875em/1.5 ui-monospace, monospace; }
p { margin: .4rem 0; }
nav { columns: 24rem; margin: 1.5rem 0; font-size: .9rem; }
nav a { display: block; text-decoration: none; overflow-wrap: anywhere; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; }
summary { cursor: pointer; padding: .55rem .8rem; overflow-wrap: anywhere; }
details > div { padding: .2rem .9rem .9rem; border-top: 1px solid var(--line); }
b.method { display: inline-block; min-width: 4.2rem; color: var(--accent); font: 600 .8rem ui-monospace, monospace; }
span.what { opacity: .75; margin-left: .6rem; font-size: .9rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
pre { background: var(--soft); padding: .7rem .9rem; border-radius: .4rem; overflow-x: auto; }
"""
STYLE_HASH: Final = f"sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}"


def page(title: str, content: str) -> bytes:
    """A whole page. `content` is HTML, with everything from outside escaped already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{content}</body></html>"
    ).encode()
