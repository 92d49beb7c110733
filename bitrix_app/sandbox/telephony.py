"""The saga of an external call: register, show and hide, finish (bitrix24.md §6.1–6.3, §6.6)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.activities import record_call, settle_missed_calls
from bitrix_app.sandbox.cards import close_cards, open_card
from bitrix_app.sandbox.crm_fields import COMPANY, CONTACT, DEAL, LEAD, TYPE_IDS
from bitrix_app.sandbox.errors import RestError, core_error
from bitrix_app.sandbox.lines import ensure_line
from bitrix_app.sandbox.recordings import attach_from_url
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Call, User
from bitrix_app.sandbox.wire import as_list, php_true, to_float, to_int
from bitrix_app.sandbox.world import APP_ROW_ID, Hit, World

OUTGOING, INCOMING, REDIRECTED, CALLBACK, INFORMATIONAL = 1, 2, 3, 4, 5
DEDUPLICATION_SECONDS = 30 * 60
PENDING_SECONDS = 30 * 86_400
ANSWERED, MISSED = "200", "304"
_DIRECTIONS = {OUTGOING: "Outgoing", CALLBACK: "Callback"}
"""How a lead made for the call is titled; all else came in."""


@METHODS.add("telephony.externalcall.register", "telephony", app_only=True)
def register(hit: Hit) -> dict[str, Any]:
    """Create a pending call, or find the one already pending for the same facts (§6.1)."""
    if not php_true(hit.arg("USER_ID")) and not php_true(hit.arg("USER_PHONE_INNER")):
        raise core_error("USER_ID or USER_PHONE_INNER should be set")
    kind = to_int(hit.arg("TYPE"))
    if kind not in (OUTGOING, INCOMING, REDIRECTED, CALLBACK, INFORMATIONAL):
        raise core_error("Unknown TYPE")
    started = hit.world.now()
    if hit.arg("CALL_START_DATE"):
        parsed = hit.world.parse_iso(hit.arg("CALL_START_DATE"))
        if parsed is None:
            raise core_error("CALL_START_DATE should be in the ISO-8601 format")
        started = parsed
    raw = str(hit.arg("PHONE_NUMBER", "")).strip()
    colleague = next(
        (one for one in hit.state.users.values() if one.active and raw and one.inner == raw), None
    )
    number = raw if colleague else hit.world.normalise(raw)
    if number is None:
        raise core_error("Unsupported phone number format")
    user = _employee(hit)
    call = start_call(
        hit.world,
        user,
        number=number,
        raw=raw,
        kind=kind,
        started=started,
        line=str(hit.arg("LINE_NUMBER") or "")[:50],
        external_id=str(hit.arg("EXTERNAL_CALL_ID") or ""),
        internal=colleague is not None,
        entity=(str(hit.arg("CRM_ENTITY_TYPE") or "").upper(), to_int(hit.arg("CRM_ENTITY_ID"))),
        create=php_true(hit.arg("CRM_CREATE", 0)),
        source=str(hit.arg("CRM_SOURCE") or "CALL"),
        show=php_true(hit.arg("SHOW", 1)),
        author=hit.user_id,
    )
    return registered_answer(call)


def registered_answer(call: Call) -> dict[str, Any]:
    """What register answers; the same for a repeated one."""
    lead = next((number for kind, number in call.created if kind == "LEAD"), None)
    answer: dict[str, Any] = {
        "CALL_ID": call.call_id,
        "CRM_CREATED_LEAD": lead,
        "CRM_CREATED_ENTITIES": [{"ENTITY_TYPE": kind, "ENTITY_ID": number} for kind, number in call.created],
        "CRM_ENTITY_TYPE": call.entity_type,
        "CRM_ENTITY_ID": call.entity_id,
    }
    if call.lead_error:
        answer["LEAD_CREATION_ERROR"] = call.lead_error
    return answer


def start_call(
    world: World,
    user: User,
    *,
    number: str,
    raw: str,
    kind: int,
    started: float,
    line: str = "",
    external_id: str = "",
    internal: bool = False,
    entity: tuple[str, int] = ("", 0),
    create: bool = False,
    source: str = "CALL",
    show: bool = True,
    author: int | None = None,
    joins: bool = True,
) -> Call:
    """The pending row, its CRM objects, its card and its events. `joins` a pending twin if there is one."""
    purge_pending(world)
    call = _pending_twin(world, user.id, number, kind, line, external_id) if joins else None
    if call is None:
        call = Call(
            call_id=f"externalCall.{world.md5()}.{int(world.now())}",
            app_id=str(APP_ROW_ID),
            user_id=user.id,
            number=number,
            raw_number=raw,
            type=kind,
            started=started,
            registered=world.now(),
            line=line,
            external_id=external_id,
            internal=internal,
        )
        known_line = line in world.state.lines
        if line:
            ensure_line(world, line)
        if not internal:
            auto = kind != OUTGOING or not known_line or world.state.lines[line].crm_auto_create == "Y"
            _bind_crm(world, call, user, entity, source, create=create and auto, author=author)
        world.state.calls[call.call_id] = world.state.pending[call.call_id] = call
        # [src] sent at register, not on answer
        world.emit("ONVOXIMPLANTCALLSTART", {"CALL_ID": call.call_id, "USER_ID": user.id}, author)
    if show:
        open_card(world, call.call_id, user.id)
    data = {
        "CALL_ID": call.call_id,
        "CALL_TYPE": kind,
        "CALLER_ID": call.raw_number,
        "REST_APP_ID": call.app_id,
    }
    world.emit("ONVOXIMPLANTCALLINIT", data, author)
    return call


def _pending_twin(
    world: World, user_id: int, number: str, kind: int, line: str, external_id: str
) -> Call | None:
    """[src] Only unfinished calls, and their stored start against now − 30 minutes."""
    for call in world.state.pending.values():
        if (
            (call.user_id, call.number, call.type) == (user_id, number, kind)
            and (not line or call.line == line)
            and (not external_id or call.external_id == external_id)
            and call.started >= world.now() - DEDUPLICATION_SECONDS
        ):
            return call
    return None


def purge_pending(world: World) -> None:
    """Calls never finished are forgotten after 30 days."""
    old = world.now() - PENDING_SECONDS
    for call_id in [one.call_id for one in world.state.pending.values() if one.registered < old]:
        del world.state.calls[call_id], world.state.pending[call_id]
        close_cards(world, call_id)


def _bind_crm(
    world: World,
    call: Call,
    user: User,
    entity: tuple[str, int],
    source: str,
    *,
    create: bool,
    author: int | None,
) -> None:
    """Find the client or create him: a lead in classic mode, contact and deal in simple mode."""
    kind, number = entity
    if kind in ("CONTACT", "COMPANY", "LEAD") and number in world.state.items[TYPE_IDS[kind]]:
        call.entity_type, call.entity_id = kind, number
        return
    found = crm.find_clients(world, call.number)
    if found:
        call.entity_type, call.entity_id = crm.TYPE_NAMES[found[0].type_id], found[0].id
        return
    if not create:
        return
    if _is_employee_number(world, call.number):
        call.lead_error = "Lead creation is disabled for local users"
        return
    title = f"+{call.number} - {_DIRECTIONS.get(call.type, 'Incoming')} call"
    call.created = create_client(world, call.number, user.id, source, title, author)
    call.entity_type, call.entity_id = call.created[0]


def create_client(
    world: World, number: str, responsible: int, source: str, title: str, author: int | None
) -> list[tuple[str, int]]:
    """A stranger becomes a lead in classic mode, a contact with a deal in simple mode."""
    phone = [{"typeId": "PHONE", "valueType": "WORK", "value": "+" + number}]
    known = {row["STATUS_ID"] for row in world.state.statuses if row["ENTITY_ID"] == "SOURCE"}
    facts: dict[str, Any] = {"assignedById": responsible, "sourceId": source if source in known else "OTHER"}
    if world.crm_mode == 1:
        lead = crm.create(world, LEAD, {**facts, "title": title, "fm": phone}, author)
        return [("LEAD", lead.id)]
    contact = crm.create(world, CONTACT, {**facts, "name": "+" + number, "fm": phone}, author)
    deal = crm.create(world, DEAL, {**facts, "title": title, "contactId": contact.id}, author)
    return [("CONTACT", contact.id), ("DEAL", deal.id)]


def _is_employee_number(world: World, number: str) -> bool:
    numbers = [phone for one in world.state.users.values() for phone in (one.work_phone, one.mobile) if phone]
    return any(world.normalise(phone) == number for phone in numbers)


def _employee(hit: Hit) -> User:
    """The active user named by id or by exact inner number."""
    user = hit.state.users.get(to_int(hit.arg("USER_ID")))
    if not php_true(hit.arg("USER_ID")):
        inner = str(hit.arg("USER_PHONE_INNER"))
        user = next((one for one in hit.state.users.values() if one.active and one.inner == inner), None)
    if user is None or not user.active:
        raise core_error("User is not found or is not active.")
    return user


# -- cards ---------------------------------------------------------------------------------------


def _card_users(hit: Hit) -> tuple[Call | None, list[int]]:
    call = hit.state.calls.get(str(hit.arg("CALL_ID", "")))
    users = [to_int(one) for one in as_list(hit.arg("USER_ID"))]
    return (None if call is None or call.is_finished else call), [
        one for one in users if hit.world.user_active(one)
    ]


@METHODS.add("telephony.externalcall.show", "telephony", app_only=True)
def show(hit: Hit) -> bool:
    """Show the card to one user or several; false when there is no such pending call (§6.3)."""
    call, users = _card_users(hit)
    if call is None or not users:
        return False
    for user_id in users:
        open_card(hit.world, call.call_id, user_id)
    return True


@METHODS.add("telephony.externalcall.hide", "telephony", app_only=True)
def hide(hit: Hit) -> bool:
    """Take the card away from these users."""
    call, users = _card_users(hit)
    if call is None or not users:
        return False
    close_cards(hit.world, call.call_id, users)
    return True


# -- finish --------------------------------------------------------------------------------------


@METHODS.add("telephony.externalcall.finish", "telephony", app_only=True)
async def finish(hit: Hit) -> dict[str, Any]:
    """Turn the pending call into statistics and a CRM activity; a second finish fails (§6.2)."""
    call_id = hit.arg("CALL_ID")
    if not isinstance(call_id, str):
        raise RestError("INVALID_ARGUMENT", "CALL_ID must be a string")
    if not php_true(hit.arg("USER_ID")) and not php_true(hit.arg("USER_PHONE_INNER")):
        raise core_error("USER_ID or USER_PHONE_INNER should be set")
    user = _employee(hit)
    call = hit.state.calls.get(call_id)
    if call is None or call.is_finished:
        raise core_error("Call is not found (call should be registered prior to finishing)")
    duration = max(0, to_int(hit.arg("DURATION", 0)))
    code = str(hit.arg("STATUS_CODE") or (ANSWERED if duration > 0 else MISSED))
    vote = to_int(hit.arg("VOTE")) if hit.has("VOTE") else None
    call.vote = vote if vote in (1, 2, 3, 4, 5) else None
    call.cost = to_float(hit.arg("COST", 0))
    call.cost_currency = str(hit.arg("COST_CURRENCY") or "")
    end_call(
        hit.world,
        call,
        user,
        duration=duration,
        code=code,
        reason=str(hit.arg("FAILED_REASON") or ""),
        author=hit.user_id,
    )
    answer = finished_answer(hit.world, call)
    if hit.arg("RECORD_URL"):  # deprecated, downloaded before the answer
        with suppress(RestError):  # the call is finished all the same, only without a recording
            await attach_from_url(hit.world, call, str(hit.arg("RECORD_URL")), "")
    return answer


def end_call(
    world: World, call: Call, user: User, *, duration: int, code: str, reason: str, author: int | None
) -> None:
    """Statistics, the activity, the responsible person, the closed cards, the events."""
    call.user_id = user.id
    call.duration, call.status_code, call.failed_reason = duration, code, reason
    call.finished = world.now()
    call.statistic_id = world.state.next_id("statistic")
    world.state.finished.append(call)
    world.state.pending.pop(call.call_id, None)
    close_cards(world, call.call_id)
    for kind, number in call.created:  # only objects created for this call change hands
        crm.update(world, world.state.items[TYPE_IDS[kind]][number], {"assignedById": user.id}, author)
    if call.entity_id and not call.internal:
        if world.activity_error:
            call.activity_error = world.activity_error
        else:
            call.activity_id = record_call(world, call, author)
    if call.type == OUTGOING and code == ANSWERED:
        settle_missed_calls(world, call.number, author)
    world.emit("ONVOXIMPLANTCALLEND", _end_event(world, call), author)


def _end_event(world: World, call: Call) -> dict[str, Any]:
    return {
        "CALL_ID": call.call_id,
        "CALL_TYPE": call.type,
        "PHONE_NUMBER": call.raw_number,
        "PORTAL_NUMBER": call.line or f"REST_APP:{call.app_id}",
        "PORTAL_USER_ID": call.user_id,
        "CALL_DURATION": call.duration,
        "CALL_START_DATE": world.iso(call.started),
        "COST": call.cost,
        "COST_CURRENCY": call.cost_currency,
        "CALL_FAILED_CODE": call.status_code,
        "CALL_FAILED_REASON": call.failed_reason,
        "CRM_ACTIVITY_ID": call.activity_id,
    }


def finished_answer(world: World, call: Call) -> dict[str, Any]:
    """The statistic row as finish returns it: CALL_START_DATE is `{}`, a serialisation bug kept."""
    cost = int(call.cost) if float(call.cost).is_integer() else call.cost
    answer: dict[str, Any] = {
        "CALL_ID": call.call_id,
        "EXTERNAL_CALL_ID": call.external_id or None,
        "PORTAL_USER_ID": call.user_id,
        "PHONE_NUMBER": call.number,
        "PORTAL_NUMBER": call.line or f"REST_APP:{call.app_id}",
        "INCOMING": str(call.type),
        "CALL_DURATION": call.duration,
        "CALL_START_DATE": {},
        "CALL_STATUS": 1 if call.status_code == ANSWERED else 0,
        "CALL_VOTE": call.vote,
        "COST": cost,
        "COST_CURRENCY": call.cost_currency,
        "CALL_FAILED_CODE": call.status_code,
        "CALL_FAILED_REASON": call.failed_reason,
        "REST_APP_ID": call.app_id,
        "REST_APP_NAME": world.card.name,
        "CRM_ACTIVITY_ID": call.activity_id,
        "COMMENT": None,
        "CRM_ENTITY_TYPE": call.entity_type,
        "CRM_ENTITY_ID": call.entity_id,
        "ID": call.statistic_id,
    }
    if call.activity_error:
        answer["ERRORS"] = {"ACTIVITY_CREATION": call.activity_error}
    return answer


# -- search --------------------------------------------------------------------------------------


@METHODS.add("telephony.externalcall.searchcrmentities", "telephony", app_only=True)
def search(hit: Hit) -> list[dict[str, Any]]:
    """Clients with that number: contacts, leads, companies; only those the user may read (§6.6)."""
    number = hit.world.normalise(str(hit.arg("PHONE_NUMBER", "")))
    if number is None:
        return []
    order = {CONTACT: 0, LEAD: 1, COMPANY: 2}
    found = [one for one in crm.find_clients(hit.world, number) if crm.may_read(hit.user, one)]
    return [
        {
            "CRM_ENTITY_TYPE": crm.TYPE_NAMES[item.type_id],
            "CRM_ENTITY_ID": item.id,
            "ASSIGNED_BY_ID": item.assigned_by,
            "NAME": crm.title_of(item),
            "ASSIGNED_BY": _responsible(hit.world, item.assigned_by),
        }
        for item in sorted(found, key=lambda one: (order[one.type_id], one.id))
    ]


def _responsible(world: World, user_id: int) -> dict[str, Any]:
    user = world.state.users.get(user_id)
    if user is None:
        return {"ID": str(user_id)}
    return {
        "ID": str(user.id),
        "TIMEMAN_STATUS": user.time_status,
        "USER_PHONE_INNER": user.inner,
        "WORK_PHONE": world.normalise(user.work_phone) if user.work_phone else None,
        "PERSONAL_PHONE": None,
        "PERSONAL_MOBILE": world.normalise(user.mobile) if user.mobile else None,
    }
