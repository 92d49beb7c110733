"""`reconcile`: through the running server's socket, or with the store in its own hands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bitrix_app import app as root
from bitrix_app import cli, control, logs
from bitrix_app.clock import SystemClock
from bitrix_app.control import CommandRefused, NobodyThere, ask, listening, socket_beside
from bitrix_app.core.store import Store, StoreUnavailable
from bitrix_app.reconcile_command import BadPeriod, Wish, check, span
from bitrix_app.settings import NAMES, PREFIXES, Settings
from bitrix_app.vault import SecretVault
from storage import open_store
from tests.house.making import KEY, portal
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio

KYIV = "Europe/Kyiv"
START = 1_763_632_800.0
"""2025-11-20 12:00 in Kyiv."""
DAY = "2025-11-20"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with good settings, and logging left as it is."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith(PREFIXES) or name.upper() in NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setattr(logs, "setup", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "160")
    good = {
        "APP_BASE_URL": "https://calls.example.com",
        "APP_SECRET_KEYS": KEY,
        "BITRIX_CLIENT_ID": "local.1",
        "BITRIX_CLIENT_SECRET": "client-canary",
        "DATABASE_URL": f"sqlite:///{tmp_path}/unitalk.db",
    }
    for name, value in good.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def row(dbid: int, at: str, **more: Any) -> dict[str, Any]:
    base = {
        "id": 1_000_000 + dbid,
        "dbid": dbid,
        "from": f"38067{dbid:07}",
        "to": ["2001"],
        "outerNumber": "380440000001",
        "direction": "IN",
        "date": f"{DAY} {at}",
        "secondsFullTime": 20,
        "secondsTalk": 8,
        "state": "ANSWER",
    }
    return base | more


def history(monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any]) -> None:
    """What the PBX answers, whatever the period."""

    async def told(_: Any, _key: str, since: float, until: float, *_more: Any) -> Any:
        if since <= START <= until:
            for one in rows:
                yield one

    monkeypatch.setattr(UnitalkClient, "history", told)


async def installed(folder: Path, **more: Any) -> None:
    async with opened(folder) as store:
        known = portal(**{"unitalk_key": "key-of-the-pbx", **more})
        await store.transact(lambda unit: unit.save_portal(known))


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{folder}/unitalk.db", SecretVault(KEY), SystemClock())
    try:
        yield store
    finally:
        await store.close()


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["unitalk-bitrix24", "reconcile", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


# --- the period -----------------------------------------------------------------------------------


def test_a_day_is_whole_on_the_pbxs_clock_and_ends_now_at_the_latest() -> None:
    whole = span(Wish(DAY, DAY), KYIV, START + 1e6)
    assert whole.until - whole.since == 86_399
    assert whole.since == START - 12 * 3_600
    assert span(Wish(DAY, DAY), KYIV, START).until == START


def test_a_moment_is_meant_as_it_is_typed() -> None:
    found = span(Wish(f"{DAY}T11:00", f"{DAY} 12:00"), KYIV, START + 1e6)
    assert (found.since, found.until) == (START - 3_600, START)
    assert span(Wish(f"{DAY}T10:00:00+00:00", DAY), KYIV, START + 1e6).since == START


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        ("yesterday", DAY, "--from must be a day"),
        (DAY, "2025-13-01", "--to must be a day"),
        (DAY, "2025-11-19", "must not be after"),
        ("2020-01-01", DAY, "At most 366 days"),
        ("0001-01-01", DAY, "year 1 cannot be meant"),
    ],
)
def test_a_period_that_cannot_be_meant_is_refused_before_anybody_is_asked(
    first: str, last: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadPeriod, match=said):
        check(Wish(first, last))
    assert run(monkeypatch, "--from", first, "--to", last) == 1
    assert said in capsys.readouterr().err


def test_a_period_of_the_future_is_refused() -> None:
    with pytest.raises(BadPeriod, match="not begun"):
        span(Wish("2025-11-22", "2025-11-23"), KYIV, START)


# --- without a server -----------------------------------------------------------------------------


def test_it_fills_the_gaps_and_says_what_it_did(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(installed(place))
    history(monkeypatch, row(1, "12:00:00"), row(2, "12:01:00"), row(3, "12:02:00", **{"from": None}))
    dry = ("--from", DAY, "--to", DAY, "--dry-run")
    assert run(monkeypatch, *dry) == 0
    told = capsys.readouterr().out
    assert "3 would be created" in told
    assert "nothing was changed" in told
    assert run(monkeypatch, *dry) == 0
    assert "3 would be created" in capsys.readouterr().out, "a dry run changed something"
    assert run(monkeypatch, "--from", DAY, "--to", DAY) == 0
    told = capsys.readouterr().out
    assert "0 filled, 3 created" in told
    assert "created  2025-11-20 10:00:00Z +380670000001: no webhook told of the call" in told
    assert "│ 2025-11-20 │ 3     │ 0       │ 0       │ 3" in told
    assert run(monkeypatch, "--from", DAY, "--to", DAY) == 0
    told = capsys.readouterr().out
    assert "3 are as we hold them" in told
    assert "0 filled, 0 created" in told

    async def calls() -> int:
        async with opened(place) as store:
            return len(await store.calls(portal().member_id))

    assert asyncio.run(calls()) == 3


def test_what_cannot_be_read_is_named_and_the_rest_is_done(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(installed(place))
    history(monkeypatch, row(1, "12:00:00"), {"odd": "row", "date": f"{DAY} 12:01:00"})
    assert run(monkeypatch, "--from", DAY, "--to", DAY) == 0
    told = capsys.readouterr().out
    assert "1 created" in told
    assert "1 cannot be taken in" in told
    assert "names no call" in told


@pytest.mark.parametrize(
    ("portals", "wanted", "said"),
    [
        ({}, "elsewhere.bitrix24.com", "No such portal is installed here"),
        ({"unitalk_key": ""}, "", "no key of the PBX"),
    ],
)
def test_what_it_cannot_do_is_said(
    portals: dict[str, str],
    wanted: str,
    said: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(installed(place, **portals))
    assert run(monkeypatch, "--from", DAY, "--to", DAY, "--portal", wanted) == 1
    assert said in capsys.readouterr().err


def test_without_a_database_it_says_so_and_makes_none(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--from", DAY, "--to", DAY) == 1
    assert "There is no database" in capsys.readouterr().err
    assert list(place.iterdir()) == []


# --- beside a server ------------------------------------------------------------------------------


async def test_a_running_server_is_asked_and_tells_its_progress(place: Path) -> None:
    told: list[Mapping[str, Any]] = []

    async def handler(request: Mapping[str, Any], say: control.Say) -> Mapping[str, Any]:
        say({"portal": "p", "done": 0.5, "rows": 7})
        return {"asked": dict(request)}

    settings = Settings.model_validate(
        {
            "app_base_url": "https://x.example",
            "app_secret_keys": KEY,
            "database_url": f"sqlite:///{place}/a.db",
        }
    )
    async with listening(place / "a.db", {"reconcile": handler}):
        mode = stat.S_IMODE(socket_beside(place / "a.db").stat().st_mode)
        assert mode & 0o077 == 0, "nobody else on the machine may ask"
        result = await root.run_reconcile(settings, Wish(DAY, DAY, "p", dry_run=True), told.append)
    assert result["asked"] == {
        "command": "reconcile", "from": DAY, "to": DAY, "portal": "p", "dry_run": True
    }  # fmt: skip
    assert told == [{"portal": "p", "done": 0.5, "rows": 7}]
    assert not socket_beside(place / "a.db").exists()


async def test_refusals_and_faults_of_the_server_come_back_in_words(place: Path) -> None:
    async def refusing(*_: Any) -> Any:
        raise CommandRefused("There is no such portal.")

    async def failing(*_: Any) -> Any:
        raise ValueError("canary of a bug")

    async with listening(place / "a.db", {"refuse": refusing, "fail": failing}):
        for command, said in (("refuse", "no such portal"), ("fail", "its log"), ("fly", "another version")):
            with pytest.raises(CommandRefused, match=said) as told:
                await ask(place / "a.db", {"command": command}, lambda _: None)
            assert "canary" not in str(told.value)


async def test_nonsense_on_the_socket_disturbs_nobody(place: Path) -> None:
    async def handler(*_: Any) -> Mapping[str, Any]:
        return {"fine": True}

    async with listening(place / "a.db", {"x": handler}):
        for line in (b"\n", b"not json\n", b"[]\n", b""):
            reader, writer = await asyncio.open_unix_connection(socket_beside(place / "a.db"))
            writer.write(line)
            writer.write_eof()
            answer = await reader.read()
            assert answer == b"" or "error" in json.loads(answer)
            writer.close()
        assert await ask(place / "a.db", {"command": "x"}, lambda _: None) == {"fine": True}


async def test_a_socket_that_a_crash_left_behind_is_nobody(place: Path) -> None:
    path = socket_beside(place / "a.db")
    server = await asyncio.start_unix_server(lambda *_: None, path)
    server.close()
    await server.wait_closed()
    with pytest.raises(NobodyThere):
        await ask(place / "a.db", {"command": "x"}, lambda _: None)

    async def handler(*_: Any) -> Mapping[str, Any]:
        return {}

    async with listening(place / "a.db", {"x": handler}):
        assert await ask(place / "a.db", {"command": "x"}, lambda _: None) == {}


async def test_a_path_too_long_for_a_socket_stops_no_server(place: Path) -> None:
    deep = place / ("d" * 100)
    deep.mkdir()
    async with listening(deep / "a.db", {}):
        assert list(deep.iterdir()) == []


async def test_the_store_is_not_opened_beside_a_server_that_listens_to_nobody(place: Path) -> None:
    await installed(place)
    settings = Settings.model_validate(
        {
            "app_base_url": "https://x.example",
            "app_secret_keys": KEY,
            "database_url": f"sqlite:///{place}/unitalk.db",
        }
    )
    async with opened(place):
        with pytest.raises(StoreUnavailable, match="in use"):
            await root.run_reconcile(settings, Wish(DAY, DAY), lambda _: None)
