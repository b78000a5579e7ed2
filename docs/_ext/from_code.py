"""What the reference takes from the code: keys of group files from pydantic, commands from typer.

In: directives ``group-keys`` and ``commands`` in a page. Out: sections and tables, made anew with every build, so that
no page can say what the code does not. A field without a description fails the build.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from docutils import nodes
from docutils.statemachine import StringList
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

Params = list[Any]


class GroupKeys(SphinxDirective):
    """Every key of a group's file: type, default, meaning; nested ones in sections of their own."""

    def run(self) -> list[nodes.Node]:
        from anomaly.groups import Group

        return parsed(self, "\n".join(_model(Group, "")))


class Commands(SphinxDirective):
    """Every command with its arguments and options."""

    def run(self) -> list[nodes.Node]:
        from anomaly.cli import app

        return parsed(self, "\n".join(_commands(typer.main.get_command(app), "anomaly")))


def parsed(directive: SphinxDirective, markdown: str) -> list[nodes.Node]:
    """Markdown as nodes, sections included."""
    holder = nodes.Element()
    lines = StringList(markdown.splitlines(), "from the code")
    directive.state.nested_parse(lines, 0, holder, match_titles=True)
    return list(holder.children)


# --- keys ---------------------------------------------------------------------------------------------------------


def _model(model: type[BaseModel], key: str) -> Iterator[str]:
    told = _told(model)
    nested: list[tuple[str, type[BaseModel]]] = []
    yield f"## `{key}`" if key else "## The file"
    yield ""
    if key and model.__doc__:
        yield _sentence(model.__doc__)
        yield ""
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        path = f"{key}.{name}" if key else name
        inner = _inner(field.annotation)
        if inner is not None:
            nested.append((path, inner))
        said = told.get(name, "")
        if not said:
            said = f"See [below](#{_anchor(path)})." if inner else _plain_meaning(model, name)
        elif inner:
            said += f" See [below](#{_anchor(path)})."
        default = _OWN_DEFAULTS.get(path) or _default(field)
        kind = _OWN_KINDS.get(path) or _kind(field.annotation)
        yield f"| `{name}` | {kind} | {default} | {_cell(said)} |"
    yield ""
    for path, inner in nested:
        yield from _model(inner, path)


def _told(model: type[BaseModel]) -> dict[str, str]:
    """The docstring below each field. Sphinx's own reader fails on f-strings in annotations."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = {}
    for field, below in pairwise(body.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(inspect.cleandoc(text).split())
    return found


def _anchor(path: str) -> str:
    return path.replace(".", "").replace("_", "_").lower()


_OWN_DEFAULTS = {"name": "the file's name"}
_OWN_KINDS = {"variables": "`all`, a list of names, or keys"}
"""What a validator takes beside what the type says."""
_OBVIOUS = {
    ("Group", "description"): "What people read about the group.",
    ("Group", "owner"): "Who answers for it.",
    ("Group", "tags"): "For the filters of the Airflow UI.",
    ("Group", "interval"): "The fixed step in which events are counted; divides a day.",
    ("Group", "transform"): "In which residuals are taken: `anscombe` for counts, `linear` for others.",
    ("Group", "seed"): "Of everything random in a fit.",
    ("Columns", "entity_id"): "Column that says whom a row is about.",
    ("Columns", "variable"): "Column that says which variable it writes.",
    ("Columns", "type"): "Column with the type of the event.",
    ("Columns", "value"): "Column with what is written.",
    ("Columns", "timestamp"): "Column that says when.",
    ("Threshold", "direction"): "Which departures count.",
    ("QuietHours", "start"): "When they begin, on the group's wall clock.",
    ("WeeklyMoment", "day"): "Day of the week.",
    ("WeeklyMoment", "at"): "Time of the day, on the group's wall clock.",
    ("Routes", "low"): "Incidents of severity low.",
    ("Routes", "high"): "Incidents of severity high.",
    ("Routes", "critical"): "Incidents of severity critical.",
}


def _plain_meaning(model: type[BaseModel], name: str) -> str:
    """Of keys that speak for themselves in the code.

    Raises:
        ValueError: of any other, so that a new key without a description fails the build.
    """
    try:
        return _OBVIOUS[model.__name__, name]
    except KeyError:
        raise ValueError(
            f"{model.__name__}.{name} has no docstring below it in {model.__module__}; write one"
        ) from None


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one, or a list of them."""
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _kind(annotation: Any) -> str:
    """A type, as people write it in YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_kind(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in {tuple, list, frozenset, set}:
        return f"list of {_kind(arguments[0])}"
    if origin is not None and arguments:  # a mapping
        return f"{_kind(arguments[0])}: {_kind(arguments[-1])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys"
    names = {bool: "true or false", int: "whole number", float: "number", str: "text", timedelta: "duration"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None or field.default is PydanticUndefined:
        return ""
    value = field.default
    if value is None or value in {"", ()}:
        return ""
    if isinstance(value, timedelta):
        from anomaly.groups.durations import format_duration

        return f"`{format_duration(value)}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{_shown(v)}`" for v in value)
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    """One cell of a Markdown table, from a docstring; what looks like a tag outside of code is text."""
    parts = text.replace("``", "`").replace("|", "\\|").strip().split("`")
    return "`".join(part if at % 2 else part.replace("<", "&lt;") for at, part in enumerate(parts))


def _sentence(docstring: str) -> str:
    return " ".join(docstring.partition("\n\n")[0].replace("``", "`").split())


# --- commands -----------------------------------------------------------------------------------------------------


def _commands(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children:
        for child in children.values():
            if not child.hidden:
                yield from _commands(child, f"{name} {child.name}")
        return
    yield f"## `{name}`"
    yield ""
    yield "```text"
    yield f"{name} {_usage(command.params)}".rstrip()
    yield "```"
    yield ""
    yield from (line.strip() for line in (command.help or "").splitlines())
    yield ""
    rows = [row for parameter in command.params if (row := _parameter(parameter)) is not None]
    if rows:
        yield "| argument or option | meaning |"
        yield "| --- | --- |"
        yield from rows
        yield ""


def _usage(parameters: Params) -> str:
    arguments = [p.metavar or p.name.upper() for p in parameters if p.param_type_name == "argument"]
    options = "[OPTIONS]" if any(p.param_type_name == "option" and p.name != "help" for p in parameters) else ""
    return " ".join([*arguments, options])


def _parameter(parameter: Any) -> str | None:
    if parameter.name == "help":
        return None
    if parameter.param_type_name == "argument":
        return f"| `{parameter.metavar or parameter.name.upper()}` | {_cell(parameter.help or '')} |"
    flag = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    value = "" if parameter.is_flag else f" {_value_name(parameter)}"
    default = _shown(parameter.default) if parameter.default not in (None, "", ()) else ""
    plain = default and not callable(parameter.default) and not parameter.is_flag
    shown = f" Default: `{default}`." if plain and "efault" not in (parameter.help or "") else ""
    needed = " **Required.**" if parameter.required else ""
    return f"| {flag}{value} | {_cell((parameter.help or '') + shown + needed)} |"


def _value_name(parameter: Any) -> str:
    """What is to be written after an option."""
    if parameter.metavar:
        return f"`{parameter.metavar}`".replace("|", " or ")
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    return f"`{getattr(annotation, '__name__', 'value').upper()}`"


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_directive("group-keys", GroupKeys)
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
