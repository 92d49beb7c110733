"""The autodialer's bodies as data: a wrong guess is mended without a release (unitalk.md §4.6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitrix_app.core.campaigns import Phone
from bitrix_app.core.dialer_templates import DEFAULTS, BadTemplate, body, read_templates

SAMPLES = Path(__file__).parents[1] / "samples" / "unitalk"
PHONES = [
    Phone("p0190ab12cd01", "77", "+380440000011", "LEAD:501"),
    Phone("p0190ab12cd02", "77", "+380440000012", "LEAD:502"),
]


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"api_autodial_{name}_request_assumed.json").read_text("utf-8"))


def test_the_assumed_bodies_are_the_contracts() -> None:
    wanted = sample("add_phones")
    for entry, phone in zip(wanted["phones"], PHONES, strict=True):
        entry["meta"] = phone.meta
    assert body({}, "add_phones", 77, PHONES) == wanted
    assert body({}, "start", 77) == sample("start")
    assert body({}, "stop", 77) == sample("stop")


def test_a_template_of_the_portal_takes_the_place_of_the_assumed_one() -> None:
    own = {
        "add_phones": {
            "action": "ADD_NUMBERS",
            "autodial": {"id": "{dialer}", "note": "dialer {dialer}"},
            "list": [{"phone": {"value": "{e164}"}, "comment": "{meta}", "tries": 3}],
            "flags": ["a", "b"],
        }
    }
    assert read_templates(own) == own
    said = body(own, "add_phones", "x-1", PHONES[:1])
    assert said["autodial"] == {"id": "x-1", "note": "dialer x-1"}
    assert said["list"] == [{"phone": {"value": "+380440000011"}, "comment": PHONES[0].meta, "tries": 3}]
    assert said["flags"] == ["a", "b"]


def test_a_list_of_bare_lines_and_lists_within_lists_work_too() -> None:
    own = {"add_phones": {"action": "ADD_PHONES", "id": "{dialer}", "rows": [["{number}", "{meta}"]]}}
    assert read_templates(own) == own
    assert body(own, "add_phones", 77, PHONES)["rows"] == [[p.number[1:], p.meta] for p in PHONES]
    lines = {"add_phones": {"action": "ADD_PHONES", "id": "{dialer}", "rows": ["{number};{meta}"]}}
    assert read_templates(lines) == lines
    assert body(lines, "add_phones", 77, PHONES)["rows"] == [f"{p.number[1:]};{p.meta}" for p in PHONES]


def test_what_is_as_assumed_is_not_kept() -> None:
    assert read_templates({name: dict(template) for name, template in DEFAULTS.items()}) == {}
    assert read_templates({"start": None}) == {}


ADD = dict(DEFAULTS["add_phones"])


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ([], "must be an object"),
        ({"pause": {}}, "no template of this name"),
        ({"start": "START"}, "JSON object"),
        ({"start": {"id": "{dialer}"}}, "needs an action"),
        ({"start": {"action": "start", "id": "{dialer}"}}, "capital letters"),
        ({"start": {"action": "SAVE", "id": "{dialer}"}}, "in the cabinet"),
        ({"stop": {"action": "DELETE", "id": "{dialer}"}}, "in the cabinet"),
        ({"start": {"action": "GET_WITH_DATA", "id": "{dialer}"}}, "does not do"),
        ({"calls_history": {"action": "START", "id": "{dialer}"}}, "does not do"),
        ({"start": {"action": "START"}}, "{dialer} is missing"),
        ({"start": {"action": "START", "id": "{dialer}", "x": "{number}"}}, "not known"),
        ({"add_phones": {**ADD, "phones": [{"number": "{number}"}]}}, "{number} and {meta}"),
        ({"add_phones": {**ADD, "phones": [{"meta": "{meta}"}]}}, "{number} and {meta}"),
        ({"add_phones": {**ADD, "phones": {"number": "{number}", "meta": "{meta}"}}}, "one list must"),
        ({"add_phones": {**ADD, "phones": [*ADD["phones"], {"number": "1"}]}}, "one list must"),
        ({"add_phones": {**ADD, "more": ADD["phones"]}}, "one list only"),
        ({"add_phones": {**ADD, "first": "{number}"}}, "one list only"),
        ({"start": {"action": "START", "id": "{dialer}", "x": "y" * 5000}}, "more than"),
    ],
)
def test_a_bad_template_is_refused_in_words(templates: Any, words: str) -> None:
    with pytest.raises(BadTemplate, match=words.replace("{", r"\{").replace("}", r"\}")):
        read_templates(templates)
