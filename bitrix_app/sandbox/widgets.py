"""Widgets on CRM records: list menus and the parts of a record's page (bitrix24.md §10, frame samples)."""

from __future__ import annotations

from bitrix_app.sandbox.placements import CRM_CARDS

LIST_MENU = "LIST_MENU"
IN_DETAILS = ("DETAIL_TOOLBAR", "DETAIL_TAB", "DETAIL_ACTIVITY")


def codes_for(kind: str) -> tuple[str, ...]:
    """Placement codes that the portal shows for a record of that kind (LEAD, DEAL, CONTACT, COMPANY)."""
    return tuple(f"CRM_{kind}_{place}" for place in (LIST_MENU, *IN_DETAILS))


def record_options(code: str, record_id: int) -> dict[str, str]:
    """PLACEMENT_OPTIONS with which the portal opens a record's widget: all strings, ID and URI.

    Raises ValueError for a code that belongs to no record.
    """
    for kind in CRM_CARDS:
        if code == f"CRM_{kind}_{LIST_MENU}":
            return {"ID": str(record_id), "URI": f"/crm/{kind.lower()}/list/"}
        if code in codes_for(kind):
            inner = f"details%2F{record_id}%2F"
            return {
                "ID": str(record_id),
                "URI": f"/crm/{kind.lower()}/details/{record_id}/?any={inner}",
            }
    raise ValueError(f"{code} is no widget of a CRM record.")
