"""The commands: every reason to stop in words and with exit code 1, never a traceback."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bitrix_app import app as root
from bitrix_app import cli, logs
from bitrix_app.sandbox import demo
from bitrix_app.settings import NAMES, PREFIXES
from tests.house.making import KEY

GOOD = {
    "APP_BASE_URL": "https://calls.example.com",
    "APP_SECRET_KEYS": KEY,
    "BITRIX_CLIENT_ID": "local.1",
    "BITRIX_CLIENT_SECRET": "client-canary",
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, none of our names around, and logging left as it is."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith(PREFIXES) or name.upper() in NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setattr(logs, "setup", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def run(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """The console script with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["unitalk-bitrix24", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    assert isinstance(code, int)
    return code


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_wrong_settings_are_printed_line_by_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_BASE_URL", "ftp://canary-in-a-value")
    assert run(monkeypatch, command) == 1
    lines = said(capsys).splitlines()
    assert lines[0] == "The settings are not right:"
    for name in ("APP_BASE_URL", "APP_SECRET_KEYS", "BITRIX_CLIENT_ID", "BITRIX_CLIENT_SECRET"):
        assert sum(line.startswith(f"  {name}:") for line in lines) == 1, name
    assert "canary" not in "".join(lines)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_one_role_alone_is_refused_on_sqlite_with_the_reason(
    role: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "serve", "--role", role) == 1
    text = said(capsys)
    assert f"--role {role} needs PostgreSQL" in text
    assert "leave --role out" in text


def test_a_role_that_nobody_knows_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "serve", "--role", "king") == 1
    assert "all, web or worker" in said(capsys)


@pytest.mark.usefixtures("good")
def test_a_port_in_use_is_told_and_nothing_is_made(
    taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "serve", "--port", str(taken)) == 1
    assert f"Cannot listen on 127.0.0.1:{taken}" in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_on_a_port_in_use_is_told_too(
    taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", "--port", str(min(taken, 65531))) == 1
    assert "another --port" in said(capsys)


@pytest.mark.usefixtures("good")
def test_a_database_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "unitalk.db").write_text("this is no database, but somebody's letter")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/unitalk.db")
    assert run(monkeypatch, "migrate") == 1
    assert "not a SQLite database" in said(capsys)


@pytest.mark.usefixtures("good")
def test_migrate_makes_the_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, "migrate") == 0
    assert (tmp_path / "data" / "unitalk.db").stat().st_size > 0


@pytest.mark.usefixtures("good")
def test_serve_runs_the_server_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    async def run_server(settings: Any, host: str, port: int) -> None:
        told.extend([settings.app_base_url, host, port])

    monkeypatch.setattr(root, "run_server", run_server)
    assert run(monkeypatch, "serve", "--host", "0.0.0.0", "--port", "9000") == 0  # noqa: S104
    assert told == ["https://calls.example.com", "0.0.0.0", 9000]  # noqa: S104


@pytest.mark.usefixtures("good")
def test_ctrl_c_is_a_normal_way_to_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_server(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(root, "run_server", run_server)
    assert run(monkeypatch, "serve") == 0
    assert said(capsys).strip() == "Stopped."


@pytest.mark.parametrize(("given", "wanted"), [((), 8000), (("--port", "9100"), 9100)])
def test_the_demo_begins_at_its_port(
    given: tuple[str, ...], wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    async def run_demo(port: int) -> None:
        told.append(port)

    monkeypatch.setattr(demo, "run_demo", run_demo)
    assert run(monkeypatch, "demo", *given) == 0
    assert told == [wanted]


def test_the_demos_help_says_what_it_is() -> None:
    shown = CliRunner().invoke(cli.app, ["demo", "--help"])
    assert shown.exit_code == 0
    assert "no accounts" in shown.output
    assert "--port" in shown.output


def test_without_a_command_the_help_is_shown() -> None:
    shown = CliRunner().invoke(cli.app, [])
    for command in ("demo", "serve", "migrate"):
        assert command in shown.output


@pytest.mark.parametrize("args", [("demo", "--port", "65532"), ("serve", "--port", "65536"), ("fly",)])
def test_a_wrong_command_line_is_refused_by_two(args: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli.app, list(args)).exit_code == 2
