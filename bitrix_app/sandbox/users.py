"""People: profile, user.*, department.get (bitrix24.md §12)."""

from __future__ import annotations

from typing import Any

from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import User
from bitrix_app.sandbox.wire import as_list
from bitrix_app.sandbox.world import Hit, World

_SCOPES = ("user_brief", "user_basic", "user")
_BRIEF_HIDES = frozenset({"EMAIL", "PERSONAL_MOBILE", "WORK_PHONE", "PERSONAL_WWW", "PERSONAL_BIRTHDAY"})


def show(world: World, user: User, scopes: tuple[str, ...], *, listed: bool) -> dict[str, Any]:
    """A user as user.get (listed) or user.current answers; some dates come as `{}` in lists."""
    login = world.iso(world.now() - 7200)
    row: dict[str, Any] = {
        "ID": str(user.id),
        "ACTIVE": user.active,
        "NAME": user.name,
        "LAST_NAME": user.last_name,
        "SECOND_NAME": "",
        "EMAIL": user.email,
        "LAST_LOGIN": login,
        "DATE_REGISTER": "2026-03-01T00:00:00+00:00",
        "TIME_ZONE": user.time_zone,
        "IS_ONLINE": "Y" if user.active else "N",
    }
    if listed:
        row["TIMESTAMP_X"] = {}
    row |= {
        "LAST_ACTIVITY_DATE": {} if listed else world.iso(world.now())[:19].replace("T", " "),
        "PERSONAL_GENDER": "",
        "PERSONAL_WWW": "",
        "PERSONAL_BIRTHDAY": "",
        "PERSONAL_MOBILE": user.mobile,
        "PERSONAL_CITY": "",
        "WORK_PHONE": user.work_phone,
        "WORK_POSITION": user.position,
        "UF_EMPLOYMENT_DATE": "",
        "UF_DEPARTMENT": list(user.departments),
        "UF_PHONE_INNER": user.inner,
    }
    if listed:
        row["USER_TYPE"] = "extranet" if user.extranet else "employee"
    if not {"user_basic", "user"} & set(scopes):
        row = {name: value for name, value in row.items() if name not in _BRIEF_HIDES}
    return row


@METHODS.add("profile")
def profile(hit: Hit) -> dict[str, Any]:
    user = hit.user
    return {
        "ID": str(user.id),
        "ADMIN": user.admin,
        "NAME": user.name,
        "LAST_NAME": user.last_name,
        "PERSONAL_GENDER": "",
        "TIME_ZONE": user.time_zone,
    }


@METHODS.add("user.admin")
def user_admin(hit: Hit) -> bool:
    return hit.user.admin


@METHODS.add("user.access")
def user_access(hit: Hit) -> bool:
    """Always true for administrators."""
    asked = {str(one) for one in as_list(hit.arg("ACCESS"))}
    return hit.user.admin or bool(asked & {f"U{hit.user_id}", "AU"})


@METHODS.add("user.current", *_SCOPES)
def user_current(hit: Hit) -> dict[str, Any]:
    return show(hit.world, hit.user, hit.scopes, listed=False)


@METHODS.add("user.get", *_SCOPES)
def user_get(hit: Hit) -> Page:
    """FILTER, or the fields at the top; unknown select fields are skipped silently."""
    rows = [show(hit.world, one, hit.scopes, listed=True) for one in hit.state.users.values()]
    conditions = dict(hit.arg("FILTER") or {})
    for name in ("ID", "ACTIVE", "UF_PHONE_INNER", "UF_DEPARTMENT", "NAME", "LAST_NAME", "EMAIL"):
        if hit.has(name):
            conditions.setdefault(name, hit.arg(name))
    needle = str(conditions.pop("NAME_SEARCH", "")).lower()
    found = [
        row
        for row in rows
        if matches(row.get, conditions)
        and (not needle or needle in f"{row['NAME']} {row['LAST_NAME']}".lower())
    ]
    found = sort_rows(
        found,
        lambda row, name: row.get(name),
        {str(hit.arg("SORT") or "ID").upper(): str(hit.arg("ORDER") or "ASC")},
    )
    select = [str(name) for name in as_list(hit.arg("select"))]

    def shape(row: dict[str, Any]) -> dict[str, Any]:
        if not select or "*" in select:
            return row
        return {name: value for name, value in row.items() if name in select or name == "ID"}

    return page_of(found, hit.arg("START", 0), shape)


@METHODS.add("user.search", *_SCOPES)
def user_search(hit: Hit) -> Page:
    needle = str(hit.arg("FIND") or "").lower()
    found = [
        show(hit.world, one, hit.scopes, listed=True)
        for one in hit.state.users.values()
        if one.active and needle in f"{one.full_name} {one.email} {one.position}".lower()
    ]
    return page_of(found, hit.arg("START", 0), lambda row: row)


@METHODS.add("department.get", "department")
def department_get(hit: Hit) -> Page:
    rows: list[dict[str, Any]] = []
    for one in hit.state.departments.values():
        row: dict[str, Any] = {"ID": str(one.id), "NAME": one.name, "SORT": 500}
        if one.parent is not None:
            row["PARENT"] = str(one.parent)
        if one.head is not None:
            row["UF_HEAD"] = str(one.head)
        rows.append(row)
    conditions = {name: hit.arg(name) for name in ("ID", "NAME", "PARENT", "UF_HEAD") if hit.has(name)}
    found = [row for row in rows if matches(row.get, conditions)]
    order = {str(hit.arg("SORT") or "ID").upper(): str(hit.arg("ORDER") or "ASC")}
    found = sort_rows(found, lambda row, name: row.get(name), order)
    return page_of(found, hit.arg("START", 0), lambda row: row)
