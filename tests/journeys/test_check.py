"""`unitalk-bitrix24 check` beside a running server, and against one that is gone: as an operator runs it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.journeys.killable import Killable, killable

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Killable]:
    async with killable(tmp_path) as up:
        yield up


async def check(app: Killable, *more: str, **environment: str) -> tuple[int, list[str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bitrix_app", "check", *more),
        env=app.environment | environment,
        cwd=app.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    return process.returncode or 0, told.decode().splitlines()


def faults(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("FAULT")]


async def test_check_beside_a_running_server_shows_the_pbxs_structure_and_disturbs_nobody(
    app: Killable,
) -> None:
    await app.start()
    await app.install()
    assert app.process is not None
    code, lines = await check(app)
    assert (code, faults(lines)) == (0, [])
    text = "\n".join(lines)
    assert f"open in process {app.process.pid}" in text
    assert "clock: agrees" in text
    assert '"line": "digits(4) | number(4) | null"' in text
    assert "Operator" not in text, "values are masked"
    assert app.environment["UNITALK_API_KEY"] not in text
    assert app.environment["APP_SECRET_KEYS"] not in text
    pbx_call = app.pbx.incoming("380670000077", ring=("2001",), answered_by="2001", talk=1)
    app.pbx.connect(app.webhook_url)
    assert pbx_call is not None
    assert app.process.returncode is None, "the server runs on"


async def test_each_fault_is_one_line_with_its_mend_and_the_exit_is_1(app: Killable) -> None:
    await app.start()
    await app.install()
    for _ in range(500):
        if any(delivery.event == "ONAPPINSTALL" for delivery in app.portal.deliveries):
            break
        await asyncio.sleep(0.02)
    await app.kill()
    app.pbx.api_key = "another-key-1"
    nobody = "http://127.0.0.1:1"
    code, lines = await check(app, BITRIX_AUTH_SERVERS=nobody)
    assert code == 1
    found = faults(lines)
    assert len(found) == 2
    assert all(" → " in line for line in found)
    assert f"Bitrix24 authorization: {nobody}" in found[0]
    assert "AUTHORIZATION_INVALID" in found[1]
    assert "no server is running" in "\n".join(lines)


async def test_an_unknown_portal_and_a_foreign_key_ring_are_faults(app: Killable) -> None:
    await app.start()
    await app.install()
    code, lines = await check(app, "--portal", "elsewhere.bitrix24.com")
    assert code == 1
    (fault,) = faults(lines)
    assert "elsewhere.bitrix24.com is not installed → Use one of:" in fault
    code, lines = await check(app, APP_SECRET_KEYS="another-key-of-forty-eight-characters-or-more-01")
    (fault,) = faults(lines)
    assert code == 1
    assert fault.endswith("→ Add the earlier key to the end of APP_SECRET_KEYS.")


async def test_before_the_first_start_there_is_nothing_to_mend(app: Killable) -> None:
    code, lines = await check(app)
    assert (code, faults(lines)) == (0, [])
    assert any("does not exist yet" in line for line in lines)
    assert not (app.folder / "unitalk.db").exists(), "check makes nothing"


async def test_settings_that_are_wrong_are_told_one_by_one(app: Killable) -> None:
    code, lines = await check(app, UNITALK_TIMEZONE="Mars/Olympus", LOG_FORMAT="xml")
    assert code == 1
    told = faults(lines)
    assert [line.split(": ")[1] for line in told] == ["UNITALK_TIMEZONE", "LOG_FORMAT"]
    assert len(told) == len(lines)
