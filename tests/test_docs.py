"""The guides point to what is there and say what the code says."""

import re
from pathlib import Path

import pytest

from bitrix_app.core.abilities import WANTED
from bitrix_app.core.portal import PortalSettings
from bitrix_app.sandbox.demo import SCOPES
from bitrix_app.settings import NAMES
from bitrix_app.web.abilities_view import WORDS
from bitrix_app.web.settings_form import Faults, read_change
from bitrix_app.web.settings_page import HANDLERS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """Headings as GitHub's page makes addresses of them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_something(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_of_the_guides_is_named_in_the_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in readme


def test_the_scopes_to_tick_are_those_that_the_code_uses() -> None:
    setup = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    table = setup.split("| scope |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(WORDS)
    readme = PAGES[0].read_text(encoding="utf-8")
    reasons = re.findall(
        r"^\| `(\w+)` \| (.+) \|$", readme.split("| scope | why |")[1].split("\n\n")[0], re.MULTILINE
    )
    assert [scope for scope, why in reasons if why.strip()] == list(WORDS)
    for group in WANTED:
        assert f"`{group[0]}`" in readme
        assert group[0] in SCOPES, "the demo grants what we ask a real portal for"
    market = (ROOT / "docs" / "market.md").read_text(encoding="utf-8")
    assert f"`{', '.join(WORDS)}`" in market


def test_the_handlers_to_make_are_those_that_the_settings_show() -> None:
    setup = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    assert re.findall(r"`\?ev=(CALL_\w+)`", setup) == [code for code, _ in HANDLERS]
    for _, name in HANDLERS:
        assert name in setup


def test_the_examples_keep_the_webhook_address_out_of_the_logs_and_run_one_process() -> None:
    examples = ROOT / "docs" / "examples"
    nginx = (examples / "nginx.conf").read_text(encoding="utf-8")
    webhooks = nginx.split("location /unitalk/events/ {")[1].split("}")[0]
    assert "access_log off;" in webhooks
    assert "error_log  /dev/null emerg;" in webhooks
    assert len(re.findall(r"^\s*server 127\.0\.0\.1:\d+;", nginx, re.MULTILINE)) == 1
    assert "$request_uri" not in nginx
    assert "$request " not in nginx
    assert "http2 on" not in nginx, "nginx of Debian 12 and Ubuntu 24.04 does not know it"
    caddy = (examples / "Caddyfile").read_text(encoding="utf-8")
    (rule,) = re.findall(r'request>uri regexp "([^"]+)" "([^"]+)"', caddy)
    cut = re.sub(rule[0], rule[1], "/unitalk/events/5ecret-t0ken?ev=CALL_END")
    assert cut == "/unitalk/events/***?ev=CALL_END"


def test_the_unit_sets_only_settings_that_exist_and_serves() -> None:
    unit = (ROOT / "docs" / "examples" / "unitalk-bitrix24.service").read_text(encoding="utf-8")
    for name in re.findall(r"^Environment=(\w+)=", unit, re.MULTILINE):
        assert name in NAMES
    assert re.search(r"^ExecStart=\S+/unitalk-bitrix24 serve --host 127\.0\.0\.1", unit, re.MULTILINE)
    assert "StateDirectoryMode=0700" in unit
    folder = re.findall(r"^(?:StateDirectory|WorkingDirectory)=(?:/var/lib/)?(.+)$", unit, re.MULTILINE)
    assert len(folder) == 2, "the default DATABASE_URL is meant from the folder that systemd makes"
    assert len(set(folder)) == 1
    assert "Restart=always" in unit


def test_the_settings_without_a_page_are_those_that_the_form_takes() -> None:
    told = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    fields = re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)
    assert {"missed_owner", "extension_users"} <= set(fields)
    with pytest.raises(Faults) as refused:
        read_change(dict.fromkeys(fields, object()), PortalSettings(), frozenset())
    assert set(refused.value.fields) == set(fields), "each is known, and refused for its value only"
    assert "There is no such setting." not in refused.value.fields.values()


def test_the_practice_is_told_as_it_is_typed() -> None:
    setup = (ROOT / "docs" / "setup.md").read_text(encoding="utf-8")
    assert "python -m bitrix_app.sandbox " in setup
    assert (ROOT / "bitrix_app" / "sandbox" / "__main__.py").is_file()
