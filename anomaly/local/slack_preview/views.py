"""What Slack refuses in a modal: missing parts, texts and lists that are too long, blocks it does not take.

As in `anomaly.local.slack_preview.blocks`, only what this project sends is known, and anything else is refused.
Limits are those of https://docs.slack.dev/reference/views/modal-views and of the elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anomaly.local.slack_preview import blocks as block_kit
from anomaly.local.slack_preview.blocks import Problems, check_keys, check_length, check_text, located

MOST_BLOCKS = 100
_KEYS = {"callback_id", "private_metadata", "title", "submit", "close", "blocks", "clear_on_close", "notify_on_close"}


def problems(view: Any) -> list[str]:
    """One line per mistake, as Slack says them; empty when Slack would open the view."""
    return list(_view(view))


def _view(view: Any) -> Problems:
    if not isinstance(view, dict) or view.get("type") != "modal":
        yield located("/view/type", "must be modal")
        return
    yield from check_keys(view, "/view", _KEYS)
    yield from check_text(view.get("title"), "/view/title", 24, {"plain_text"})
    for name in ("submit", "close"):
        if name in view:
            yield from check_text(view[name], f"/view/{name}", 24, {"plain_text"})
    yield from check_length(view.get("callback_id", "-"), 255, "/view/callback_id")
    yield from check_length(view.get("private_metadata", "-"), 3000, "/view/private_metadata")
    found = view.get("blocks")
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_BLOCKS:
        yield located("/view/blocks", f"between 1 and {MOST_BLOCKS} items allowed")
        return
    inputs = [block for block in found if isinstance(block, dict) and block.get("type") == "input"]
    if inputs and "submit" not in view:
        yield located("/view/submit", "missing required field: submit, because there is an input")
    names = [block.get("block_id") for block in inputs if "block_id" in block]
    if len(names) != len(set(names)):
        yield located("/view/blocks", "block_id must be unique")
    for number, block in enumerate(found):
        if isinstance(block, dict) and block.get("type") == "input":
            yield from _input(block, f"/view/blocks/{number}")
    # Where Slack counts 50 blocks of a message, it counts 100 of a modal.
    others = [block for block in found if block not in inputs]
    for first in range(0, len(others), block_kit.MOST_BLOCKS):
        yield from block_kit.problems(others[first : first + block_kit.MOST_BLOCKS], lambda _: None)


def _input(block: dict[str, Any], where: str) -> Problems:
    yield from check_keys(block, where, {"label", "element", "optional", "hint", "dispatch_action"})
    yield from check_text(block.get("label"), f"{where}/label", 2000, {"plain_text"})
    element = block.get("element")
    check = _ELEMENTS.get(str(element.get("type"))) if isinstance(element, dict) else None
    if check is None or not isinstance(element, dict):
        yield located(f"{where}/element", "unsupported type")
        return
    yield from check_length(element.get("action_id", "-"), 255, f"{where}/element/action_id")
    yield from check(element, f"{where}/element")


def _plain_text_input(element: dict[str, Any], where: str) -> Problems:
    yield from check_keys(
        element, where, {"action_id", "multiline", "max_length", "min_length", "initial_value", "placeholder"}
    )
    if not 1 <= int(element.get("max_length", 3000)) <= 3000:
        yield located(f"{where}/max_length", "must be between 1 and 3000")
    if "placeholder" in element:
        yield from check_text(element["placeholder"], f"{where}/placeholder", 150, {"plain_text"})


def _static_select(element: dict[str, Any], where: str) -> Problems:
    yield from check_keys(element, where, {"action_id", "options", "initial_option", "placeholder"})
    options = element.get("options")
    if not isinstance(options, list) or not 1 <= len(options) <= 100:
        yield located(f"{where}/options", "between 1 and 100 items allowed")
        return
    for number, option in enumerate(options):
        yield from _option(option, f"{where}/options/{number}")
    if "initial_option" in element and element["initial_option"] not in options:
        yield located(f"{where}/initial_option", "must exactly match one of the provided options")


def _option(option: Any, where: str) -> Problems:
    if not isinstance(option, dict):
        yield located(where, "must be an object")
        return
    yield from check_keys(option, where, {"text", "value", "description"})
    yield from check_text(option.get("text"), f"{where}/text", 75, {"plain_text"})
    yield from check_length(option.get("value"), 150, f"{where}/value")


_ELEMENTS: dict[str, Callable[[dict[str, Any], str], Problems]] = {
    "plain_text_input": _plain_text_input,
    "static_select": _static_select,
}
