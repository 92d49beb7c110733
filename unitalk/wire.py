"""How we speak to the PBX's API and how its answers are read (unitalk.md §1, §4). Pure.

Errors come with status 200, data without a `status`: only `status == "Error"` is the vendor's no.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NotRequired, TypedDict
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from bitrix_app.core.errors import (
    AnswerLost,
    Forbidden,
    Refused,
    Throttled,
    Trouble,
    Unreadable,
    VendorBroken,
    Who,
)
from bitrix_app.core.ports import HttpRequest

HISTORY: Final = "history/get"
USERS: Final = "users/list"
DIRECT_CALL: Final = "phones/directCall"
SET_STATUS: Final = "phones/inner/setStatus"
AUTODIAL: Final = "autodial/action"
AUTODIAL_READS: Final = frozenset({"GET_WITH_DATA", "GET_CALLS_HISTORY"})

PAGE: Final = 1000
OLD_PAGE: Final = 300
"""The 2017 server's limit; still used where the vendor answers «Limit range»."""
TIMEOUT: Final = 60.0
"""Seconds; the vendor says nothing, a request of ours waits as long as Bitrix24's would."""
LIVE_TIMEOUT: Final = 15.0
"""Seconds for which an agent who wants to call waits for the PBX; then the doubt is looked into."""
STATUS_TIMEOUT: Final = 10.0
"""Seconds; a status is not worth more patience, for setting it again harms nobody."""
_USER_WRAPPERS: Final = ("users", "items", "data", "list", "result")


@dataclass(frozen=True, slots=True)
class Said:
    """One request in the vendor's terms. `reads` is true when saying it twice harms nobody.

    `data` is the JSON body, `form` a form instead, `query` goes into the address.
    """

    path: str
    reads: bool
    data: Any = None
    form: Mapping[str, str] | None = None
    query: Mapping[str, str] | None = None
    timeout: float = TIMEOUT

    @property
    def operation(self) -> str:
        """Its name in logs: the path, for the autodialer's one path with the action."""
        action = self.data.get("action") if isinstance(self.data, Mapping) else None
        return f"{self.path} {action}" if action else self.path


class PbxUser(TypedDict):
    """An operator of the PBX; `line` is the inner line, `None` for people without one."""

    line: str | None
    name: str
    email: NotRequired[str]
    """Where the PBX gives one; no page of the contract promises it."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Rows newest first. `taken` counts what the page held, `total` all calls of the period."""

    rows: tuple[dict[str, Any], ...]
    taken: int
    total: int | None
    warning: str | None


# --- saying ----------------------------------------------------------------------------------------


def history_get(date_from: str, date_to: str, limit: int = PAGE, offset: int = 0) -> Said:
    """Calls that began in a period of wall-clock times, both ends inclusive (§4.4)."""
    data = {"dateFrom": date_from, "dateTo": date_to, "limit": limit, "offset": offset, "filter": {}}
    return Said(HISTORY, reads=True, data=data)


def users_list() -> Said:
    """All operators (§4.5)."""
    return Said(USERS, reads=True, data={})


def direct_call(line: str, number: str, meta: str | None = None) -> Said:
    """Ring the inner `line`, then the client (§4.1); `number` as E.164 or digits."""
    form = {"sip": line, "number": re.sub(r"[^0-9]", "", number)}
    form |= {"meta": meta} if meta else {}
    return Said(DIRECT_CALL, reads=False, form=form, timeout=LIVE_TIMEOUT)


def set_status(line: str, status: str) -> Said:
    """`WORK` or a word for a pause (`PAUS`) of an inner line (§4.3)."""
    query = {"number": line, "status": status}
    return Said(SET_STATUS, reads=False, query=query, timeout=STATUS_TIMEOUT)


def autodial(body: Mapping[str, Any]) -> Said:
    """The raw dialer method (§4.6). Raises `ValueError` for a body without `action`."""
    action = body.get("action")
    if not isinstance(action, str) or not action:
        raise ValueError("autodial/action wants an action")
    return Said(AUTODIAL, reads=action in AUTODIAL_READS, data=dict(body))


def dialers_calls(dialer: int | str, calls: Sequence[int | str]) -> Said:
    """What a dialer knows of these calls (§4.6)."""
    filter_ = {"filter": {"id": list(calls)}}
    return autodial({"action": "GET_CALLS_HISTORY", "id": dialer, "callHistoryRequest": filter_})


def request(base_url: str, key: str, said: Said) -> HttpRequest:
    """The HTTP request. Every method is a POST; the key is a header and nothing else (§1)."""
    url = f"{base_url.rstrip('/')}/{said.path}" + (f"?{urlencode(said.query)}" if said.query else "")
    # A kept connection to this vendor may be dead (§1), and a write into a dead one is a doubt.
    headers = {"Authorization": key, "Accept": "application/json", "Connection": "close"}
    body = b""
    if said.form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(said.form).encode("ascii")
    elif said.data is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(said.data, ensure_ascii=False).encode("utf-8")
    return HttpRequest("POST", url, headers, body, timeout=said.timeout)


def wall_window(date_from: float, date_to: float, timezone: str) -> tuple[str, str]:
    """A period of unix seconds in the PBX's wall-clock words.

    When the clock is turned back inside the period, an hour's words mean two instants: the words are
    widened so that nothing of the period is left out.
    """
    zone = ZoneInfo(timezone)
    begin, end = (dt.datetime.fromtimestamp(at, zone) for at in (date_from, date_to))
    turned = max((begin.utcoffset() or _NONE) - (end.utcoffset() or _NONE), _NONE)
    first, last = begin.replace(tzinfo=None) - turned, end.replace(tzinfo=None) + turned
    return f"{first:%Y-%m-%d %H:%M:%S}", f"{last:%Y-%m-%d %H:%M:%S}"


_NONE: Final = dt.timedelta(0)


# --- reading ---------------------------------------------------------------------------------------


def read_answer(status: int, headers: Mapping[str, str], body: bytes, *, reads: bool) -> Any:  # noqa: ARG001
    """The answer's data. Raises a branch of `core.errors.Trouble` (§1.1):

    `Forbidden` for a wrong key, `Refused` with the vendor's text for its other errors, and for what is
    no verdict at all (`Internal error`, other statuses, no JSON) `VendorBroken` when it only `reads`,
    else `AnswerLost`. 429 is `Throttled` for reads; of writes the contract does not say that they were
    not done.
    """
    data = _json(body)
    if isinstance(data, Mapping) and str(data.get("status")).strip().lower() == "error":
        text = " ".join(str(data.get("message") or "").split())[:300]
        plain = text.rstrip(".").lower()
        if plain.startswith("authorization invalid"):
            raise Forbidden(
                "Unitalk does not accept the API key",
                code="AUTHORIZATION_INVALID",
                hint="Make a key on the API page of the Unitalk cabinet and enter it in the settings.",
                who=Who.ADMIN,
            )
        if plain != "internal error" and status < 500 and status != 429:
            code = "LIMIT_RANGE" if plain.startswith("limit range") else "UNITALK_REFUSED"
            raise Refused(text or "Unitalk refused the request without a reason", code=code)
        raise _no_verdict("Unitalk reported an internal error", "INTERNAL_ERROR", reads=reads)
    if status == 429 and reads:
        raise Throttled("Unitalk asks for fewer requests", code="HTTP_429")
    if not 200 <= status < 300:
        raise _no_verdict(f"Unitalk's server answered with HTTP {status}", f"HTTP_{status}", reads=reads)
    if data is _NOT_JSON:
        raise _no_verdict("Unitalk's answer is not JSON", "NOT_JSON", reads=reads)
    return data


def read_users(data: Any) -> list[PbxUser]:
    """Operators from any of the known wrappers (§4.5). Raises `Unreadable` for other shapes.

    A user with several lines stands there once for each.
    """
    listed = data
    for _ in range(2):  # `{"status": …, "data": {"users": […]}}` is the deepest that was seen
        if isinstance(listed, Mapping):
            inside = (listed[x] for x in _USER_WRAPPERS if isinstance(listed.get(x), list | dict))
            listed = next(inside, listed)
    if isinstance(listed, Mapping) and listed and all(isinstance(x, Mapping) for x in listed.values()):
        listed = list(listed.values())  # a map by id, as PHP writes a list with gaps
    if not isinstance(listed, list):
        raise Unreadable("The PBX's list of users has an unknown shape")
    users: list[PbxUser] = []
    for user in listed:
        if not isinstance(user, Mapping):
            continue
        words = (str(user.get(x) or "").strip() for x in ("firstName", "lastName"))
        name = " ".join(word for word in words if word)
        lines = user.get("line")
        for line in lines if isinstance(lines, list) and lines else [lines]:
            one = PbxUser(line=_line(line), name=name)
            if "@" in (email := str(user.get("email") or "").strip()):
                one["email"] = email
            users.append(one)
    return users


def read_history(data: Any) -> HistoryPage:
    """One page of `history/get` (§4.4). Raises `Unreadable` when there is no list of calls."""
    if isinstance(data, Mapping) and "calls" not in data and isinstance(data.get("data"), Mapping):
        data = data["data"]  # inside an envelope, as other methods answer (§1.1)
    calls = data.get("calls") if isinstance(data, Mapping) else None
    if not isinstance(calls, list):
        raise Unreadable("The PBX's history has an unknown shape")
    total, warning = data.get("count"), data.get("warning")
    if isinstance(total, str) and re.fullmatch(r"[0-9]{1,9}", total):
        total = int(total)
    return HistoryPage(
        rows=tuple(call for call in calls if isinstance(call, dict)),
        taken=len(calls),
        total=total if isinstance(total, int) and not isinstance(total, bool) and total >= 0 else None,
        warning=str(warning)[:300] if warning else None,
    )


def row_key(row: Mapping[str, Any]) -> str:
    """What makes a history row itself: the lasting id, else everything that it says."""
    dbid = row.get("dbid")
    if isinstance(dbid, str | int) and not isinstance(dbid, bool) and str(dbid).strip("0 "):
        return f"dbid:{dbid}"
    return json.dumps(row, sort_keys=True)


# --- for the log -----------------------------------------------------------------------------------


def masked(text: str, key: str = "") -> str:
    """`text` without the key, without addresses (recording links are secrets), numbers to their last 4."""
    if key:
        text = text.replace(key, "[key]")
    text = re.sub(r"https?:\\?/\\?/[^\s\"'<>]+", "[link]", text, flags=re.IGNORECASE)
    return re.sub(r"[0-9]{3,}([0-9]{4})", r"…\1", text)[:500]


def summary(data: Any) -> str:
    """An answer's shape: scalars as they are, lists by their length; no rows, so no people."""
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return f"[{len(data)}]"
    if not isinstance(data, Mapping):
        return str(data)
    shown = (f"{k}={summary(v) if not isinstance(v, Mapping) else '{…}'}" for k, v in data.items())
    return " ".join(shown)


_NOT_JSON: Final = object()


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _no_verdict(message: str, code: str, *, reads: bool) -> Trouble:
    return VendorBroken(message, code=code) if reads else AnswerLost(message, code=code)


def _line(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
