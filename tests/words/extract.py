"""Finds every text for people in the code and the templates: these are the catalogue's msgids.

Python is read as a syntax tree, because most texts are said far from any translator: an error is
worded where it is raised, stored in English and retold when somebody looks. An f-string becomes a
template with named gaps: `f"user {call.user_id}"` is `user {user_id}`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, nodes

from bitrix_app.core import errors

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = ("bitrix_app", "unitalk")
SILENT: Final = ("sandbox", "cli.py", "__main__.py", "settings.py", "logs.py")
"""The emulators, the command line and the operator's log stay English."""

TROUBLES: Final = tuple(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.Trouble)
)
SPEAKERS: Final[dict[str, tuple[int, ...]]] = {
    "mark": (0,),
    "Problem": (2, 3),
    "BadTemplate": (0,),
    "malformed": (0,),
    "forbidden": (0,),
    "BadForm": (0,),
    "Moot": (0,),
    "GiveUp": (0,),
    "cls": (2, 3),
    "Wrong": (1,),
    "Failure": (2, 3),
    "JobError": (2, 3),
    "stop_jobs": (1,),
    "_ask": (1, 2),
    "RuleFaults": (0,),
    "__init__": (0,),
    "lost": (0,),
    "_no_verdict": (0,),
    "_not_there": (0,),
    "_refused": (0,),
    **dict.fromkeys(TROUBLES, (0,)),
}
"""Functions and classes whose arguments (by place) are read by people sooner or later."""
FORMS: Final = ("web", "addresses.py", "disposition_form.py", "hours.py")
"""Where a `ValueError` is worded for people: beside a form's field, or quoted in a refusal."""
KEYWORDS: Final = frozenset({"hint", "note", "skipped", "detail", "message"})
VARIABLES: Final = frozenset(
    {
        "note",
        "late",
        "hint",
        "default_hint",
        "said",
        "faults",
        "ONLY_ONE",
        "FAILED_REASON",
        "TITLES",
        "STATUS_CODES",
        "SENTENCES",
        "MENDS",
        "_HINTS",
    }
)
"""Variables and tables whose values are texts."""


@dataclass(frozen=True, slots=True)
class Text:
    """One msgid, with its plural when it counts something, and the file that says it."""

    msgid: str
    plural: str = ""
    file: str = ""


def texts() -> list[Text]:
    """Every text of the product, in a lasting order, each once for each file."""
    found: set[Text] = set()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if not any(part in SILENT for part in path.relative_to(ROOT).parts):
                found.update(of_python(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))))
    for path in sorted((ROOT / "bitrix_app/web/templates").rglob("*.html")):
        found.update(of_template(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))))
    return sorted(found, key=lambda text: (text.msgid, text.file))


def of_python(source: str, file: str = "") -> Iterator[Text]:
    """The texts of one module."""
    speakers = dict(SPEAKERS)
    if any(part in FORMS for part in Path(file).parts):
        speakers["ValueError"] = (0,)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield from _of_call(node, speakers, file)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_holds_texts(target) for target in targets):
                yield from (Text(msgid, "", file) for msgid in _strings(node.value))


def _holds_texts(target: ast.expr) -> bool:
    """`note = …`, and `faults[name] = …` for a table that is filled piece by piece."""
    variable = target.value if isinstance(target, ast.Subscript) else target
    return isinstance(variable, ast.Name) and variable.id in VARIABLES


def _of_call(node: ast.Call, speakers: dict[str, tuple[int, ...]], file: str) -> Iterator[Text]:
    name = _name(node.func)
    if name == "say" and node.args:
        msgids = [_template(arg) for arg in node.args[:2]]
        if msgids[0] is not None:
            yield Text(msgids[0], (msgids[1] or "") if len(msgids) > 1 else "", file)
        return
    spoken = [node.args[place] for place in speakers.get(name, ()) if place < len(node.args)]
    spoken += [keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS]
    if name == "Rule":  # a proposed disposition, by the name that an administrator reads
        spoken += [keyword.value for keyword in node.keywords if keyword.arg == "name"]
    for value in spoken:
        yield from (Text(msgid, "", file) for msgid in _strings(value))


def _strings(value: ast.expr) -> Iterator[str]:
    """The texts that an expression can give; keys of tables and conditions are none."""
    template = _template(value)
    if template is not None:
        if any(c.isalpha() for c in _literal(template)) and not template.startswith("https://"):
            yield template
        return
    match value:
        case ast.BoolOp(values=values) | ast.Tuple(elts=values) | ast.Dict(values=values):
            parts: Iterable[ast.expr] = values
        case ast.IfExp(body=body, orelse=orelse):
            parts = (body, orelse)
        case ast.Call(args=args) if _name(value.func) in ("MappingProxyType", "dict"):
            parts = args
        case _:
            parts = ()
    for part in parts:
        yield from _strings(part)


def _template(value: ast.expr) -> str | None:
    """A literal or f-string as a msgid; `None` for anything else."""
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            gaps: dict[str, str] = {}
            return "".join(_gap(part, gaps) for part in parts)
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Add(), right=right):
            return f"{text}{{{_name(right)}}}"
    return None


def _gap(part: ast.expr, gaps: dict[str, str]) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    code, name = ast.dump(part.value), _name(part.value)
    while gaps.setdefault(name, code) != code:
        name += "_"
    return f"{{{name}}}"


def _name(node: ast.expr) -> str:
    """What a gap is called: the last name of the expression's first part."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(args=[first, *_]) if not isinstance(first, ast.Constant):
            return _name(first)
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.BinOp(left=inner):
            return _name(inner)
        case ast.BoolOp(values=[inner, *_]) | ast.IfExp(body=inner):
            return _name(inner)
    return "value"


def _literal(template: str) -> str:
    """The template without its gaps."""
    return re.sub(r"\{[^}]*\}", "", template)


def of_template(source: str, file: str = "") -> Iterator[Text]:
    """The texts that a page says through `say`."""
    for call in Environment(autoescape=True).parse(source).find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "say":
            plural = next((_constants(arg)[0] for arg in call.args[1:2]), "")
            for msgid in _constants(call.args[0]):
                yield Text(msgid, plural, file)


def _constants(argument: nodes.Expr) -> list[str]:
    """Literals inside an argument: a choice or a fallback may hold several."""
    found = [argument] if isinstance(argument, nodes.Const) else argument.find_all(nodes.Const)
    return [const.value for const in found if isinstance(const.value, str)]
