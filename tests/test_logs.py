"""Nothing secret gets into a log, in whatever wrapping it comes."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from loguru import logger

from bitrix_app import logs
from bitrix_app.logs import redact, redact_secrets

S = "SECRETcanary5a3cd7"
WRAPPED = [
    f"GET /rest/app.info?auth={S}&x=1",
    f"access_token={S}",
    f"refresh_token = {S}",
    f"client_secret: {S}",
    f"AUTH_ID={S}&REFRESH_ID={S}&APPLICATION_TOKEN={S}",
    f"auth[access_token]={S}&auth[application_token]={S}",
    f"auth%5Baccess_token%5D={S}&auth%5Bapplication_token%5D={S}",
    json.dumps({"refresh_token": S, "n": 1}),
    json.dumps({"auth": {"access_token": S, "list": [{"client_secret": S}]}}),
    json.dumps(json.dumps({"refresh_token": S})),
    repr({"access_token": S}),
    repr([("authorization", f"Bearer {S}")]),
    repr([(b"authorization", S.encode())]),
    f"Authorization: {S}",
    f"authorization: Basic {S}",
    f"token is Bearer {S}",
    quote(f"https://x/?auth={S}&b=1", safe=""),
    quote(quote(f"https://x/?auth={S}&b=1", safe=""), safe=""),
    quote(json.dumps({"access_token": S})),
    f"cmd[0]=telephony.x?auth={S}&A=1",
    f"cmd[0]={quote(f'crm.x?access_token={S}&A=1')}",
    f"POST /unitalk/events/{S}?ev=CALL_END HTTP/1.1",
    quote(f"/unitalk/events/{S}?ev=CALL_END", safe=""),
    f"https://calls.example.com/unitalk/events/{S}",
    f"https://api.unitalk.cloud:8443/tracking/rec/{S}/2026-02-10",
    f"https:\\/\\/api.unitalk.cloud:8443\\/tracking\\/rec\\/{S}\\/2026-02-10",
    f"https://cstat.nextel.com.ua:8443/tracking/history/record/{S}/2026-02-10",
    json.dumps({"uploadUrl": f"https://p/rest/upload.json?token=disk%7C{S}&a={S}"}),
    json.dumps({"DOWNLOAD_URL": f"https://p/x?a={S}&token={S}"}).replace("/", "\\/"),
    f"unitalk_api_key={S}",
    f"postgresql://unitalk:{S}@db/unitalk",
    f"smtp://u:{S}@mail.example.com:587",
]


@pytest.mark.parametrize("text", WRAPPED)
def test_a_secret_is_masked_in_every_wrapping(text: str) -> None:
    for cleaned in (redact(text), redact_secrets(text), redact(f"before {text} after")):
        assert "canary" not in cleaned
        assert "***" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "+380440000011",
        "380440000011",
        "+380 (44) 000-00-11",
        "%2B380440000011",
        "(044) 000-00-11",
        "0440000011",
        json.dumps({"number": "+380440000011"}),
    ],
)
def test_a_phone_number_keeps_its_last_four_digits(text: str) -> None:
    assert "***0011" in redact(text)
    assert "38044000" not in redact(text)
    assert redact_secrets(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-10 10:00:12",
        "job 12 done in 0.123 s",
        "author=Olena",
        "authentication failed: the pair is dead",
        "portal 0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "1788333300.18",
        "telephony.externalcall.register 200",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    before = logging.root.handlers[:], logging.root.level
    yield io.StringIO()
    logger.remove()
    logging.root.handlers[:], logging.root.level = before


def test_json_lines_carry_allowed_fields_only(stream: io.StringIO) -> None:
    logs.setup("INFO", "json", stream)
    with logs.correlated("req-1"):
        logger.bind(portal="p1", token=S, body=S, reason=f"auth={S}").info("stored {}", "+380440000011")
    logger.debug("too quiet")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["message"], told["portal"], told["reason"]) == ("stored ***0011", "p1", "auth=***")
    assert (told["level"], told["correlation_id"]) == ("INFO", "req-1")
    assert "token" not in told
    assert "canary" not in line
    assert logs.correlation_id.get() == ""


def test_no_text_can_pretend_to_be_a_second_line(stream: io.StringIO) -> None:
    logs.setup("INFO", "text", stream)
    logger.info("one\r\n2026-01-01 ERROR forged\x1b[31m\u2028x")
    logger.bind(reason="a\nb").info("two")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "one\\r\\n2026" in lines[0]
    assert "\x1b" not in stream.getvalue()
    assert "reason=a\\nb" in lines[1]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_shows_no_values_and_no_secrets(stream: io.StringIO, form: str) -> None:
    logs.setup("INFO", form, stream)

    def fail() -> None:
        local = f"{S}-local"
        raise ValueError(f"bad answer: access_token={S}\n2026 forged{local[:0]}")

    try:
        fail()
    except ValueError:
        logger.opt(exception=True).error("it failed")
    told = stream.getvalue()
    assert "ValueError" in told
    assert "canary5a3cd7" not in told
    assert not any(line.startswith("2026 forged") for line in told.splitlines())


def test_the_standard_librarys_lines_come_too_and_lose_the_webhook_token(stream: io.StringIO) -> None:
    logs.setup("INFO", "text", stream)
    logging.getLogger("uvicorn.access").info(
        '%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "POST", f"/unitalk/events/{S}?ev=CALL_END", "1.1", 200
    )
    logging.getLogger("httpx").info("HTTP Request: GET https://x/?auth=%s", S)
    logging.getLogger("uvicorn.error").error("Exception in ASGI application {braces}")
    told = stream.getvalue()
    assert "uvicorn.access" in told
    assert "/unitalk/events/***?ev=CALL_END" in told
    assert "{braces}" in told
    assert "canary" not in told
    assert "HTTP Request" not in told
