"""External lines of the app (bitrix24.md §6.7)."""

from __future__ import annotations

from typing import Any

from bitrix_app.sandbox.errors import core_error
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Line
from bitrix_app.sandbox.wire import php_true
from bitrix_app.sandbox.world import Hit, World


def ensure_line(world: World, number: str) -> Line:
    """An unknown LINE_NUMBER in register silently creates a line ([src], §6.1)."""
    line = world.state.lines.get(number)
    if line is None:
        line = Line(world.state.next_id("line"), number, number)
        world.state.lines[number] = line
    return line


def _number(hit: Hit) -> str:
    number = str(hit.arg("NUMBER") or "").strip()
    if not number:
        raise core_error("NUMBER should not be empty")
    return number


def _flag(value: Any) -> str:
    return "N" if value in ("N", "n", False, 0, "0") else "Y"


@METHODS.add("telephony.externalline.add", "telephony", app_only=True)
def add(hit: Hit) -> dict[str, int]:
    number = _number(hit)
    if number in hit.state.lines:
        raise core_error("Line already exists")
    line = ensure_line(hit.world, number)
    line.name = str(hit.arg("NAME") or "")
    line.crm_auto_create = _flag(hit.arg("CRM_AUTO_CREATE", "Y"))
    return {"ID": line.id}


@METHODS.add("telephony.externalline.update", "telephony", app_only=True)
def update(hit: Hit) -> dict[str, str]:
    number = _number(hit)
    line = hit.state.lines.get(number)
    if line is None:
        raise core_error(f"Could not find line with number {number}")
    if not hit.has("NAME") and not hit.has("CRM_AUTO_CREATE"):
        raise core_error("There are no fields to update")
    if hit.has("NAME"):
        line.name = str(hit.arg("NAME"))
    if hit.has("CRM_AUTO_CREATE"):
        line.crm_auto_create = _flag(hit.arg("CRM_AUTO_CREATE"))
    return {"ID": str(line.id)}


@METHODS.add("telephony.externalline.get", "telephony", app_only=True)
def get(hit: Hit) -> list[dict[str, str]]:
    return [
        {"NUMBER": one.number, "NAME": one.name, "CRM_AUTO_CREATE": one.crm_auto_create}
        for one in hit.state.lines.values()
    ]


@METHODS.add("telephony.externalline.delete", "telephony", app_only=True)
def delete(hit: Hit) -> list[Any]:
    number = _number(hit)
    if hit.state.lines.pop(number, None) is None:
        raise core_error(f"Could not find line with number {number}")
    return []


@METHODS.add("voximplant.line.get", "telephony")
def line_get(hit: Hit) -> dict[str, str]:
    """Lines by id; needs "Manage numbers – modify", which here means an administrator."""
    hit.need_admin()
    return {f"reg{one.id}": one.name or one.number for one in hit.state.lines.values()}


@METHODS.add("voximplant.line.outgoing.set", "telephony")
def outgoing_set(hit: Hit) -> int:
    """Answers 1 even for an unknown LINE_ID (§6.7)."""
    hit.need_admin()
    if php_true(hit.arg("LINE_ID")):
        hit.state.app_options["_outgoing_line"] = str(hit.arg("LINE_ID"))
    return 1


@METHODS.add("voximplant.line.outgoing.get", "telephony")
def outgoing_get(hit: Hit) -> str:
    hit.need_admin()
    return hit.state.app_options.get("_outgoing_line", "")
