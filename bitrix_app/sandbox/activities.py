"""Activities: the native record of a call, to-dos, our own cards (bitrix24.md §7.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.crm_fields import DEAL, TYPE_IDS
from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.query import Page, matches, page_of, sort_rows
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Activity, Call
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import APP_ROW_ID, Hit, World

ACTIVITY_TYPE = 6
_OUTGOING = 1


def new_activity(world: World, owner: tuple[int, int], author: int, **fields: Any) -> Activity:
    """An activity with every field of the sample, and its ADD event."""
    number = world.state.next_id("activity")
    now = world.now_iso()
    values: dict[str, Any] = {
        "ID": str(number), "OWNER_ID": str(owner[1]), "OWNER_TYPE_ID": str(owner[0]), "TYPE_ID": "6",
        "PROVIDER_ID": "", "PROVIDER_TYPE_ID": "", "PROVIDER_GROUP_ID": None, "ASSOCIATED_ENTITY_ID": "0",
        "SUBJECT": "", "CREATED": now, "LAST_UPDATED": now, "START_TIME": now, "END_TIME": now,
        "DEADLINE": now,
        "COMPLETED": "N", "STATUS": "1", "RESPONSIBLE_ID": str(author), "PRIORITY": "2", "NOTIFY_TYPE": "0",
        "NOTIFY_VALUE": "0", "DESCRIPTION": "", "DESCRIPTION_TYPE": "1", "DIRECTION": "0", "LOCATION": "",
        "SETTINGS": [], "ORIGINATOR_ID": None, "ORIGIN_ID": None, "AUTHOR_ID": str(author),
        "EDITOR_ID": str(author),
        "PROVIDER_PARAMS": [], "PROVIDER_DATA": None, "RESULT_MARK": "0", "RESULT_VALUE": None,
        "RESULT_SUM": None,
        "RESULT_CURRENCY_ID": None, "RESULT_STATUS": "0", "RESULT_STREAM": "0", "RESULT_SOURCE_ID": None,
        "AUTOCOMPLETE_RULE": "0", **fields,
    }  # fmt: skip
    activity = Activity(number, values, [owner])
    world.state.activities[number] = activity
    world.emit("ONCRMACTIVITYADD", {"FIELDS": {"ID": number}}, author)
    return activity


def record_call(world: World, call: Call, author: int | None) -> int:
    """The native record of a finished call: ORIGIN_ID is `VI_<CALL_ID>` ([src], §6.2)."""
    type_id = TYPE_IDS[call.entity_type]
    client = world.state.items[type_id].get(call.entity_id)
    outgoing = call.type == _OUTGOING
    answered = call.status_code == "200"
    name = crm.title_of(client) if client else "+" + call.number
    activity = new_activity(
        world,
        (type_id, call.entity_id),
        call.user_id,
        TYPE_ID="2",
        PROVIDER_ID="VOXIMPLANT_CALL",
        PROVIDER_TYPE_ID="CALL",
        SUBJECT=f"Outgoing call to {name}" if outgoing else f"Incoming call from {name}",
        START_TIME=world.iso(call.started),
        END_TIME=world.iso(call.started + call.duration),
        DEADLINE=world.iso(call.started),
        COMPLETED="Y" if answered or outgoing else "N",  # a missed call waits for an answer
        STATUS="2" if answered or outgoing else "1",
        DIRECTION="2" if outgoing else "1",
        ORIGIN_ID=f"VI_{call.call_id}",
    )
    for kind, number in call.created:
        if (TYPE_IDS[kind], number) not in activity.bindings:
            activity.bindings.append((TYPE_IDS[kind], number))
    for deal in world.state.items[DEAL].values():
        owned = (
            deal.fields.get("contactId" if call.entity_type == "CONTACT" else "companyId") == call.entity_id
        )
        if (
            owned
            and call.entity_type != "LEAD"
            and deal.fields["closed"] == "N"
            and (DEAL, deal.id) not in activity.bindings
        ):
            activity.bindings.append((DEAL, deal.id))
    if client is not None:
        client.fields.update({"lastActivityTime": world.now_iso(), "lastActivityBy": author or call.user_id})
    return activity.id


def settle_missed_calls(world: World, number: str, author: int | None) -> None:
    """An answered outgoing call closes the earlier missed ones of that number (§6.2)."""
    for call in world.state.finished_calls():
        activity = world.state.activities.get(call.activity_id or 0)
        if activity is not None and call.number == number and activity.fields["COMPLETED"] == "N":
            activity.fields.update({"COMPLETED": "Y", "STATUS": "2"})
            world.emit("ONCRMACTIVITYUPDATE", {"FIELDS": {"ID": activity.id}}, author)


def _files(world: World, activity: Activity) -> list[dict[str, Any]]:
    script = f"{world.base_url}/bitrix/tools/crm_show_file.php"
    owner = f"ownerTypeId={ACTIVITY_TYPE}&ownerId={activity.id}"
    return [{"id": one, "url": f"{script}?fileId={one}&{owner}&auth="} for one in activity.files]


def _find(hit: Hit, name: str = "id") -> Activity:
    activity = hit.state.activities.get(to_int(hit.arg(name)))
    if activity is None:
        raise RestError("", "Not found", status=400)
    return activity


@METHODS.add("crm.activity.get", "crm")
def get(hit: Hit) -> dict[str, Any]:
    activity = _find(hit)
    files = {"FILES": _files(hit.world, activity)} if activity.files else {}
    storage = {"STORAGE_TYPE_ID": "3", "STORAGE_ELEMENT_IDS": activity.files} if activity.files else {}
    return {**activity.fields, **storage, **files}


@METHODS.add("crm.activity.list", "crm")
def activities(hit: Hit) -> Page:
    """`filter[BINDINGS]` asks for owners; FILES come only when selected."""
    conditions = dict(hit.arg("filter") or {})
    owners = [
        (to_int(row.get("OWNER_TYPE_ID")), to_int(row.get("OWNER_ID")))
        for row in as_list(conditions.pop("BINDINGS", None))
        if isinstance(row, Mapping)
    ]
    select = [str(name) for name in as_list(hit.arg("select"))]
    found = [
        one
        for one in hit.state.activities.values()
        if (not owners or set(owners) & set(one.bindings))
        and matches(one.fields.get, conditions, hit.world.timezone)
    ]
    order = hit.arg("order")
    found = sort_rows(
        found,
        lambda one, name: one.fields.get(name),
        order if isinstance(order, Mapping) and order else {"ID": "ASC"},
    )

    def shape(activity: Activity) -> dict[str, Any]:
        full: dict[str, Any] = dict(activity.fields)
        if "FILES" in select:
            full["FILES"] = _files(hit.world, activity)
        if not select or "*" in select:
            return full
        return {name: full[name] for name in dict.fromkeys(["ID", *select]) if name in full}

    return page_of(found, hit.arg("start", 0), shape)


@METHODS.add("crm.activity.update", "crm")
def update(hit: Hit) -> bool:
    activity = _find(hit)
    fields = hit.arg("fields")
    if not isinstance(fields, Mapping):
        raise RestError("", "Parameter 'fields' must be array.", status=400)
    for name, value in fields.items():
        if name in activity.fields and name != "ID":
            activity.fields[name] = value if isinstance(value, list | dict) else str(value)
    activity.fields["LAST_UPDATED"] = hit.world.now_iso()
    hit.emit("ONCRMACTIVITYUPDATE", {"FIELDS": {"ID": activity.id}})
    return True


def _owner(hit: Hit) -> tuple[int, int]:
    type_id, number = to_int(hit.params.get("ownerTypeId")), to_int(hit.params.get("ownerId"))
    item = crm.get(hit.world, type_id, number)
    if item is None:
        raise RestError("NOT_FOUND", "Element not found")
    if not crm.may_read(hit.user, item):
        raise RestError("ACCESS_DENIED", "Access denied.", status=400)
    return type_id, number


@METHODS.add("crm.activity.todo.add", "crm")
def todo_add(hit: Hit) -> dict[str, int]:
    """A follow-up task."""
    owner = _owner(hit)
    deadline = hit.world.parse_iso(hit.params.get("deadline"))
    if deadline is None:
        raise RestError("WRONG_DATETIME_FORMAT", "Wrong datetime format", status=400)
    activity = new_activity(
        hit.world,
        owner,
        hit.user_id,
        PROVIDER_ID="CRM_TODO",
        PROVIDER_TYPE_ID="TODO",
        SUBJECT=str(hit.params.get("title") or ""),
        DESCRIPTION=str(hit.params.get("description") or ""),
        DEADLINE=hit.world.iso(deadline),
        RESPONSIBLE_ID=str(to_int(hit.params.get("responsibleId")) or hit.user_id),
    )
    return {"id": activity.id}


@METHODS.add("crm.activity.configurable.add", "crm", app_only=True)
def configurable_add(hit: Hit) -> dict[str, Any]:
    """Our own card; only we may change it."""
    owner = _owner(hit)
    fields, layout = hit.params.get("fields"), hit.params.get("layout")
    if not isinstance(layout, Mapping) or not layout:
        raise RestError("ERROR_EMPTY_LAYOUT", "Layout is empty", status=400)
    facts = fields if isinstance(fields, Mapping) else {}
    if facts.get("isIncomingChannel") == "Y" and facts.get("deadline"):
        raise RestError("INCOMING_ACTIVITY_CAN_NOT_BE_WITH_DEADLINE", status=400)
    title = layout.get("header", {}).get("title", "") if isinstance(layout.get("header"), Mapping) else ""
    activity = new_activity(
        hit.world,
        owner,
        hit.user_id,
        PROVIDER_ID="CONFIGURABLE_REST_APP",
        PROVIDER_TYPE_ID=str(facts.get("typeId") or "CONFIGURABLE"),
        SUBJECT=str(title),
        COMPLETED="Y" if facts.get("completed") in (True, 1, "1", "Y") else "N",
        RESPONSIBLE_ID=str(to_int(facts.get("responsibleId")) or hit.user_id),
        ORIGINATOR_ID=facts.get("originatorId"),
        ORIGIN_ID=facts.get("originId"),
    )
    activity.layout, activity.app_id = dict(layout), str(APP_ROW_ID)
    return {"activity": {"id": activity.id}}


@METHODS.add("crm.activity.configurable.update", "crm", app_only=True)
def configurable_update(hit: Hit) -> dict[str, Any]:
    activity = hit.state.activities.get(to_int(hit.params.get("id")))
    if activity is None:
        raise RestError("NOT_FOUND", "Element not found")
    if activity.layout is None:
        text = "The activity was created by another application"
        raise RestError("ERROR_WRONG_APPLICATION", text, status=400)
    if isinstance(hit.params.get("layout"), Mapping):
        activity.layout = dict(hit.params["layout"])
    facts = hit.params.get("fields")
    if isinstance(facts, Mapping) and "completed" in facts:
        activity.fields["COMPLETED"] = "Y" if facts["completed"] in (True, 1, "1", "Y") else "N"
    hit.emit("ONCRMACTIVITYUPDATE", {"FIELDS": {"ID": activity.id}})
    return {"activity": {"id": activity.id}}
