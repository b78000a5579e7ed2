"""Slack's mrkdwn as safe HTML: *bold*, _italic_, ~struck~, `code`, links, line breaks, a few emoji.

In: text as Slack takes it, with ``&``, ``<`` and ``>`` as entities. Out: `Markup`. Everything is escaped first;
the tags around it are ours, and a link's address has to be http(s).
"""

from __future__ import annotations

import re
from html import unescape

from markupsafe import Markup, escape

EMOJI = {
    "bell": "🔔",
    "chart_with_downwards_trend": "📉",
    "chart_with_upwards_trend": "📈",
    "hourglass_flowing_sand": "⏳",
    "large_green_circle": "🟢",
    "mag": "🔍",
    "rotating_light": "🚨",
    "warning": "⚠️",
}
# Machines without an emoji font still get the marks that this project's messages begin with.
_DRAWN = {
    "red_circle": '<circle cx="8" cy="8" r="6.5" fill="#d63a3a"/>',
    "large_orange_circle": '<circle cx="8" cy="8" r="6.5" fill="#ee8a2b"/>',
    "large_yellow_circle": '<circle cx="8" cy="8" r="6.5" fill="#f2c744"/>',
    "label": '<path d="M1.5 3.5h8L15 8l-5.5 4.5h-8z" fill="#e0a93f"/><circle cx="10.5" cy="8" r="1.2" fill="#fff"/>',
    "zzz": '<path d="M2 3h5L2.4 8H7M9 8h4.6L9.4 13.5H14" fill="none" stroke="#5b7fd1" stroke-width="1.9"/>',
    "newspaper": '<rect x="1.5" y="2.5" width="13" height="11" rx="1" fill="#e8e8ea" stroke="#77777c"/>'
    '<path d="M4 5.5h8M4 8h8M4 10.500h5" stroke="#77777c" stroke-width="1.2"/>',
    "bar_chart": '<path d="M3.500 14V8M8 14V3M12.500 14V6" stroke="#3b7dd8" stroke-width="2.8"/>',
    "white_check_mark": '<rect x="1" y="1" width="14" height="14" rx="3" fill="#3ba55c"/>'
    '<path d="M4.3 8.4l2.5 2.5 5-5.4" fill="none" stroke="#fff" stroke-width="2"/>',
}

_TOKEN = re.compile(
    r"```(?P<block>.+?)```"
    r"|`(?P<code>[^`\n]+)`"
    r"|<(?P<link>[^<>\n]+)>"
    r"|:(?P<emoji>[a-z0-9_+-]+):"
    r"|(?<![\w*])\*(?P<bold>[^*\n]+)\*(?![\w*])"
    r"|(?<![\w_])_(?P<italic>[^_\n]+)_(?![\w_])"
    r"|(?<![\w~])~(?P<struck>[^~\n]+)~(?![\w~])"
    r"|(?P<newline>\n)",
    re.DOTALL,
)
_WRAPPED = {"bold": "b", "italic": "i", "struck": "s"}


def mrkdwn(text: str) -> Markup:
    """A mrkdwn text."""
    parts: list[Markup] = []
    at = 0
    for match in _TOKEN.finditer(text):
        parts += [_plain(text[at : match.start()]), _token(match)]
        at = match.end()
    return Markup("").join([*parts, _plain(text[at:])])


def plain_text(text: str) -> Markup:
    """A plain_text: nothing but emoji and line breaks."""
    parts = re.split(r":([a-z0-9_+-]+):", text)
    shown = [_emoji(part) if number % 2 else _plain(part) for number, part in enumerate(parts)]
    return Markup("").join(shown).replace("\n", Markup("<br>"))


def _token(match: re.Match[str]) -> Markup:
    kind = str(match.lastgroup)
    inner = match[kind]
    if kind == "block":
        return Markup("<pre>{}</pre>").format(_plain(inner.strip("\n")))
    if kind == "code":
        return Markup("<code>{}</code>").format(_plain(inner))
    if kind == "link":
        return _link(inner)
    if kind == "emoji":
        return _emoji(inner)
    if kind == "newline":
        return Markup("<br>")
    return Markup(f"<{_WRAPPED[kind]}>{{}}</{_WRAPPED[kind]}>").format(mrkdwn(inner))  # noqa: S704 - tags of ours


def _link(inner: str) -> Markup:
    address, _, label = inner.partition("|")
    if inner.startswith(("!", "@", "#")):
        return Markup('<span class="mention">@{}</span>').format(_plain(label or address[1:]))
    if not address.startswith(("http://", "https://")):
        return _plain(f"<{inner}>")
    shown = _plain(label or address)
    return Markup('<a href="{}" target="_blank" rel="noopener noreferrer">{}</a>').format(unescape(address), shown)


def _emoji(name: str) -> Markup:
    if name in _DRAWN:
        drawing = f'<svg class="emoji" viewBox="0 0 16 16" role="img" aria-label="{name}">{_DRAWN[name]}</svg>'
        return Markup(drawing)  # noqa: S704 - constants of ours
    return escape(EMOJI.get(name, f":{name}:"))


def _plain(text: str) -> Markup:
    return escape(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
