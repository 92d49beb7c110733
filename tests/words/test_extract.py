"""What counts as a text for people is found, and what does not is left alone."""

from __future__ import annotations

import re
from typing import Final

import pytest
from jinja2 import Environment, nodes

from bitrix_app.web.languages import INSTALLER_TEXTS, PAGE_TEXTS
from tests.words.extract import ROOT, SILENT, of_python, of_template

WEB: Final = ROOT / "bitrix_app" / "web"
NAMES: Final = {"Unitalk", "Bitrix24", "CRM"}


def found(source: str, file: str = "bitrix_app/lanes.py") -> list[str]:
    return [text.msgid for text in of_python(source, file)]


@pytest.mark.parametrize(
    ("source", "msgids"),
    [
        ('words.say("Save")', ["Save"]),
        ('mark("Save")', ["Save"]),
        ('raise Refused("It is so.", code="SO", hint="Mend it.")', ["It is so.", "Mend it."]),
        ('Refused(f"user {call.user_id} of {portal.name or 1}")', ["user {user_id} of {name}"]),
        ('Refused(f"{a.x} and {b.x} and {a.x}")', ["{x} and {x_} and {x}"]),
        ('note = "Ends: " + ", ".join(differs)', ["Ends: {differs}"]),
        ('Refused(text or "no reason")', ["no reason"]),
        ('Moot("over" if late else "erased")', ["over", "erased"]),
        ('class A(Refused):\n    default_hint = "Mend it."', ["Mend it."]),
        ('FAILED_REASON: Final = MappingProxyType({Outcome.BUSY: "Busy"})', ["Busy"]),
        ('Problem(404, "not_found", "Not found", "Nothing here.")', ["Not found", "Nothing here."]),
        ('Refused(trouble.message)\nRefused("")\nRefused(f"{a}: {b}")', []),
        ('raise Wrong("PAST", "This time is over.")', ["This time is over."]),
        (
            'LOST: Final = Failure("LOST", "timeout", "It was lost.", "Wait.", "nobody")',
            ["It was lost.", "Wait."],
        ),
        ('Failure(event.code, "unknown", event.message)', []),
        (
            'JobError("DIVERGED", "availability", "No answer.", "It is tried again.")',
            ["No answer.", "It is tried again."],
        ),
        ('late = f"The end came after all: {outcome}"', ["The end came after all: {outcome}"]),
        ('SENTENCES: Final = MappingProxyType({"event": "An event {name}."})', ["An event {name}."]),
        ('faults["stage"] = f"There is no stage {rule.stage}."', ["There is no stage {stage}."]),
        ('faults[name] = str(fault)\nseen["stage"] = "none of ours"', []),
        ('Rule(id="x", name=f"Busy: {stages[0].name}")\nOther(name="x y")', ["Busy: {name}"]),
        ('logger.info("portal {} works", 1)\nraise ValueError("internal")', []),
    ],
)
def test_texts_are_found_where_people_will_read_them(source: str, msgids: list[str]) -> None:
    assert found(source) == msgids


def test_a_value_error_is_a_text_only_where_a_form_shows_it() -> None:
    source = 'raise ValueError("It must be true or false.")'
    assert found(source, "bitrix_app/web/settings_form.py") == ["It must be true or false."]
    assert found(source, "bitrix_app/core/hours.py") == ["It must be true or false."]
    assert found(source) == []


def test_a_text_that_counts_has_two_forms() -> None:
    (text,) = of_python('words.say("{count} call", "{count} calls", count=3)')
    assert (text.msgid, text.plural) == ("{count} call", "{count} calls")
    (text,) = of_template('{{ say("{count} call", "{count} calls", count=n) }}')
    assert (text.msgid, text.plural) == ("{count} call", "{count} calls")


def test_templates_say_their_texts_with_choices_and_fallbacks() -> None:
    source = '<p title="{{ say(\'A\') }}">{{ say("B") if x else say("C") }} {{ say(names.get(x, "D")) }}</p>'
    assert sorted(text.msgid for text in of_template(source)) == ["A", "B", "C", "D"]


@pytest.mark.parametrize("path", sorted((WEB / "templates").glob("*.html")), ids=lambda path: path.name)
def test_a_template_holds_no_text_of_its_own(path: object) -> None:
    """Everything between tags and in the attributes that people meet goes through `say`."""
    assert unsaid(path.read_text(encoding="utf-8")) == set()  # type: ignore[attr-defined]


def test_a_text_that_a_template_holds_itself_is_found() -> None:
    assert unsaid("<p>Unitalk: overview</p>") == {"overview"}
    assert unsaid('<p title="Steps" class="grid">{{ say("x") }} {% if y %}Tries{% endif %}</p>') == {
        "Steps",
        "Tries",
    }
    assert unsaid('<td>{{ "Hidden" if x else say("y") }}</td>') == {"Hidden"}


def unsaid(source: str) -> set[str]:
    """Words that people would read and that no `say` translates."""
    tree = Environment(autoescape=True).parse(source)
    shown = "".join(data.data for data in tree.find_all(nodes.TemplateData))
    read = " ".join(re.findall(r'(?:title|aria-label|placeholder|alt|data-label)="([^"]*)"', shown))
    read += " " + re.sub(r"<[^>]*(>|$)|^[^<]*>", " ", re.sub(r"<!doctype[^>]*>", "", shown))
    choices = [
        branch
        for choice in tree.find_all(nodes.CondExpr)
        for branch in (choice.expr1, choice.expr2)
        if isinstance(branch, nodes.Const)
    ]
    read += " " + " ".join(str(branch.value) for branch in choices)
    return {word for word in re.findall(r"[A-Za-z][A-Za-z0-9]{2,}", read) if word not in NAMES}


@pytest.mark.parametrize(("script", "texts"), [("page.js", PAGE_TEXTS), ("installer.js", INSTALLER_TEXTS)])
def test_a_script_says_only_texts_that_the_page_gives_it(script: str, texts: dict[str, str]) -> None:
    source = (WEB / "static" / script).read_text(encoding="utf-8")
    if script == "page.js":  # it hands its texts on
        source += (WEB / "static" / "retries.js").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:TEXTS|this\.texts)\.(\w+)", source)) == set(texts)


@pytest.mark.parametrize("path", sorted((WEB / "static").glob("*.js")), ids=lambda path: path.name)
def test_a_script_holds_no_sentence(path: object) -> None:
    source: str = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    said = re.sub(r"new Error\((?:\"[^\"]*\"|`[^`]*`)\)|`Bearer |//.*|/\*.*?\*/", "", source)
    assert re.findall(r"[\"'`][A-Z][a-z]+ [^\"'`]*[\"'`]", said) == []


@pytest.mark.parametrize("name", [name for name in SILENT if name.endswith(".py")])
def test_the_operators_words_stay_english(name: str) -> None:
    """Command line, settings of the server and log know no translator."""
    assert "bitrix_app.words" not in (ROOT / "bitrix_app" / name).read_text(encoding="utf-8")
