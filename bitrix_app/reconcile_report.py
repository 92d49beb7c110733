"""What the command `reconcile` shows: a progress bar, what changed, the ledger of the days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from bitrix_app.control import CommandRefused
from bitrix_app.reconcile_command import Wish
from bitrix_app.settings import Settings

WORDS: Final = {
    "created": "no webhook told of the call",
    "filled": "webhooks had not told",
    "failed": "cannot be taken in",
}
COLUMNS: Final = ("day", "total", "written", "skipped", "waiting", "needs_person", "difference")


async def reconcile_and_show(settings: Settings, wish: Wish, console: Console | None = None) -> None:
    """Run the command and print its report. Raises `RuntimeError` with words when it is refused."""
    from bitrix_app.app import run_reconcile

    console = console or Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]} calls read"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(told: Mapping[str, Any]) -> None:
            portal = str(told["portal"])
            if portal not in tasks:
                tasks[portal] = bar.add_task(portal, total=1.0, rows=0)
            bar.update(tasks[portal], completed=float(told["done"]), rows=told["rows"])

        try:
            result = await run_reconcile(settings, wish, progress)
        except CommandRefused as refused:
            raise RuntimeError(str(refused)) from refused
    show(console, result)


def show(console: Console, result: Mapping[str, Any]) -> None:
    """The report of all portals."""
    dry = bool(result["dry_run"])
    for one in result["portals"]:
        made = "would be " if dry else ""
        console.print(f"\n{one['portal']}: the PBX's history has {one['rows']} calls of this period")
        console.print(f"  {one['matched']} are as we hold them")
        console.print(f"  {one['filled']} {made}filled, {one['created']} {made}created")
        console.print(
            f"  {one['waiting']} too young, {one['failed']} cannot be taken in, {one['ignored']} go on"
        )
        for change in one["changes"]:
            at = dt.datetime.fromtimestamp(change["started_at"], dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            why = ", ".join(change["adds"]) or change["note"] or WORDS[change["how"]]
            console.print(f"    {change['how']:<8} {at} {change['number'] or 'no number'}: {why}")
        table = Table(*COLUMNS, title="Ledger, days on the PBX's clock")
        for line in one["ledger"]:
            table.add_row(*(str(line[name]) for name in COLUMNS))
        console.print(table)
    if dry:
        console.print("A dry run: nothing was changed.")
