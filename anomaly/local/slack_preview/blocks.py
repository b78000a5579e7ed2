"""What Slack refuses in Block Kit: unknown types and keys, missing parts, texts and lists that are too long.

Only the blocks of messages that this project might send; any other type is refused, although Slack may know it.
Limits are those of https://docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

FindFile = Callable[[str], Mapping[str, Any] | None]
Problems = Iterator[str]

MOST_BLOCKS = 50
_IMAGE_TYPES = {"png", "jpg", "gif"}


def problems(blocks: Any, find_file: FindFile) -> list[str]:
    """One line per mistake, in the form of Slack's ``errors``; empty when Slack would take the blocks.

    Args:
        blocks: what came as ``blocks``, decoded.
        find_file: the file of an id, or None.
    """
    return list(_blocks(blocks, find_file))


def _blocks(blocks: Any, find_file: FindFile) -> Problems:
    if not isinstance(blocks, list):
        yield located("/blocks", "must be an array")
        return
    if len(blocks) > MOST_BLOCKS:
        yield located("/blocks", f"no more than {MOST_BLOCKS} items allowed")
    ids = [b["block_id"] for b in blocks if isinstance(b, dict) and "block_id" in b]
    if len(ids) != len(set(ids)):
        yield located("/blocks", "block_id must be unique")
    for number, block in enumerate(blocks):
        where = f"/blocks/{number}"
        kind = block.get("type") if isinstance(block, dict) else None
        check = _CHECKS.get(str(kind))
        if check is None:
            yield located(f"{where}/type", f"unsupported type: {kind}")
            continue
        yield from check_length(block.get("block_id", ""), 255, f"{where}/block_id")
        yield from check(block, where, find_file)


def _header(block: dict[str, Any], where: str, _: FindFile) -> Problems:
    yield from check_keys(block, where, {"text"})
    yield from check_text(block.get("text"), f"{where}/text", 150, {"plain_text"})


def _section(block: dict[str, Any], where: str, find_file: FindFile) -> Problems:
    yield from check_keys(block, where, {"text", "fields", "accessory", "expand"})
    if "text" not in block and "fields" not in block:
        yield located(where, "missing required field: text or fields")
    if "text" in block:
        yield from check_text(block["text"], f"{where}/text", 3000)
    for number, field in enumerate(_list(block.get("fields", []))):
        yield from check_text(field, f"{where}/fields/{number}", 2000)
    if not 0 <= len(_list(block.get("fields", []))) <= 10:
        yield located(f"{where}/fields", "no more than 10 items allowed")
    if "accessory" in block:
        yield from _element(block["accessory"], f"{where}/accessory", find_file)


def _context(block: dict[str, Any], where: str, find_file: FindFile) -> Problems:
    yield from check_keys(block, where, {"elements"})
    elements = _list(block.get("elements"))
    if not 1 <= len(elements) <= 10:
        yield located(f"{where}/elements", "between 1 and 10 items allowed")
    for number, element in enumerate(elements):
        at = f"{where}/elements/{number}"
        if isinstance(element, dict) and element.get("type") == "image":
            yield from _image(element, at, find_file)
        else:
            yield from check_text(element, at, 3000)


def _image(block: dict[str, Any], where: str, find_file: FindFile) -> Problems:
    yield from check_keys(block, where, {"image_url", "slack_file", "alt_text", "title"})
    yield from check_length(block.get("alt_text"), 2000, f"{where}/alt_text")
    if ("image_url" in block) == ("slack_file" in block):
        yield located(where, "exactly one of image_url and slack_file is required")
    if "image_url" in block:
        yield from _url(block["image_url"], f"{where}/image_url")
    if "title" in block:
        yield from check_text(block["title"], f"{where}/title", 2000, {"plain_text"})
    if "slack_file" in block:
        named = block["slack_file"]
        file = find_file(str(named.get("id"))) if isinstance(named, dict) else None
        if file is None or file["state"] != "complete" or file["filetype"] not in _IMAGE_TYPES:
            yield located(f"{where}/slack_file", "invalid slack file")


def _divider(block: dict[str, Any], where: str, _: FindFile) -> Problems:
    yield from check_keys(block, where, set())


def _actions(block: dict[str, Any], where: str, find_file: FindFile) -> Problems:
    yield from check_keys(block, where, {"elements"})
    elements = _list(block.get("elements"))
    if not 1 <= len(elements) <= 25:
        yield located(f"{where}/elements", "between 1 and 25 items allowed")
    for number, element in enumerate(elements):
        yield from _element(element, f"{where}/elements/{number}", find_file)


def _element(element: Any, where: str, find_file: FindFile) -> Problems:
    kind = element.get("type") if isinstance(element, dict) else None
    if kind == "image":
        yield from _image(element, where, find_file)
    elif kind == "button":
        yield from check_keys(element, where, {"text", "action_id", "url", "value", "style", "accessibility_label"})
        yield from check_text(element.get("text"), f"{where}/text", 75, {"plain_text"})
        yield from _url(element.get("url", "https://"), f"{where}/url")
        yield from check_length(element.get("action_id", "-"), 255, f"{where}/action_id")
        yield from check_length(element.get("value", "-"), 2000, f"{where}/value")
        if element.get("style", "primary") not in {"primary", "danger"}:
            yield located(f"{where}/style", "must be primary or danger")
    else:
        yield located(f"{where}/type", f"unsupported type: {kind}")


_CHECKS: dict[str, Callable[[dict[str, Any], str, FindFile], Problems]] = {
    "header": _header,
    "section": _section,
    "context": _context,
    "image": _image,
    "divider": _divider,
    "actions": _actions,
}


def check_text(
    text: Any, where: str, limit: int, kinds: frozenset[str] | set[str] = frozenset({"plain_text", "mrkdwn"})
) -> Problems:
    if not isinstance(text, dict):
        yield located(where, "missing required field: a text object")
        return
    if text.get("type") not in kinds:
        yield located(f"{where}/type", f"must be one of: {', '.join(sorted(kinds))}")
    yield from check_keys(text, where, {"text", "emoji", "verbatim"})
    yield from check_length(text.get("text"), limit, f"{where}/text")


def check_length(text: Any, limit: int, where: str) -> Problems:
    if not isinstance(text, str):
        yield located(where, "must be a string")
    elif len(text) > limit:
        yield located(where, f"must be less than {limit + 1} characters")
    elif not text and not where.endswith("block_id"):
        yield located(where, "must be more than 0 characters")


def _url(url: Any, where: str) -> Problems:
    yield from check_length(url, 3000, where)
    if isinstance(url, str) and not url.startswith(("http://", "https://")):
        yield located(where, "invalid url")


def check_keys(given: dict[str, Any], where: str, known: set[str]) -> Problems:
    for key in sorted(given.keys() - known - {"type", "block_id"}):
        yield located(where, f"invalid additional property: {key}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def located(where: str, what: str) -> str:
    return f"{what} [json-pointer:{where}]"
