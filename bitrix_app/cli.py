"""The commands of `unitalk-bitrix24` (interface.md «Commands»)."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from bitrix_app.core.store import StoreUnavailable
from bitrix_app.serving import PortInUse
from bitrix_app.settings import SettingsError, load

app = typer.Typer(
    help="Unitalk for Bitrix24: every call of the PBX becomes a fact in the CRM, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_say = Console(stderr=True, highlight=False, soft_wrap=True)

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")]


@app.command()
def demo(port: Annotated[int, typer.Option(min=1, max=65531, help="First of four ports.")] = 8000) -> None:
    """Sandbox portal, sandbox PBX and the app on this machine, with sample traffic; no accounts."""
    from bitrix_app.sandbox.demo import run_demo

    _run(run_demo(port))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8080,
    role: Annotated[str, typer.Option(help="all, web or worker.")] = "all",
) -> None:
    """Run the app: web and worker in one process."""
    if role not in ("all", "web", "worker"):
        _stop(f"--role {role}: it is all, web or worker.")
    if role != "all":
        _stop(
            f"--role {role} needs PostgreSQL, where several processes can share the work. "
            "On SQLite one process does both: leave --role out."
        )
    from bitrix_app.app import run_server

    settings = load(serving=True)
    _run(run_server(settings, host, port))


@app.command()
def check(
    portal: Annotated[str, typer.Option(help="member_id or domain; needed when there are several.")] = "",
) -> None:
    """Look whether everything is as it must be; may run beside the server. Exit 1 with the faults."""
    from bitrix_app.app import run_check

    try:
        settings = load(serving=True)
    except SettingsError as error:
        for fault in error.faults:
            print(f"FAULT settings: {fault}")
        raise typer.Exit(1) from None
    report = asyncio.run(run_check(settings, portal))
    for line in report.lines:
        print(line)
    for domain, structure in report.structures.items():
        print(f"\nWhat the PBX of {domain} answers and sends (types and lengths only):")
        print(json.dumps(structure, ensure_ascii=False, indent=2))
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def reconcile(
    first: Annotated[str, typer.Option("--from", help="Day or moment on the PBX's clock: 2026-11-20.")],
    last: Annotated[str, typer.Option("--to", help="Day (whole) or moment: 2026-11-20T18:00.")],
    portal: Annotated[str, typer.Option(help="member_id or domain; without it all portals.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show, change nothing.")] = False,
) -> None:
    """Compare the PBX's history with what we hold and fill the gaps; safe beside the server."""
    from bitrix_app.reconcile_command import BadPeriod, Wish, check
    from bitrix_app.reconcile_report import reconcile_and_show

    wish = Wish(first, last, portal, dry_run)
    try:
        check(wish)
    except BadPeriod as bad:
        _stop(str(bad))
    settings = load(serving=True)
    _run(reconcile_and_show(settings, wish))


@app.command()
def migrate() -> None:
    """Bring the database schema up to date."""
    from bitrix_app.app import run_migrate

    _run(run_migrate(load(serving=True)))


def _run(work: object) -> None:
    """Run a coroutine; Ctrl-C is a normal way to stop."""
    try:
        asyncio.run(work)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        _say.print("Stopped.")
    except (PortInUse, StoreUnavailable, RuntimeError) as refusal:
        _stop(str(refusal))


def _stop(reason: str) -> None:
    _say.print(reason, style="red")
    raise typer.Exit(1)


def main() -> None:
    """The console script."""
    try:
        app()
    except SettingsError as error:
        _say.print("The settings are not right:", style="red")
        for fault in error.faults:
            _say.print(f"  {fault}")
        sys.exit(1)
