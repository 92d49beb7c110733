"""The real structure of the PBX's answers, where the contract is unsure (unitalk.md §4.4–4.6, §6).

Three or four reads, none of which changes anything at the PBX; what comes back is masked
(`unitalk.structure`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bitrix_app.core.errors import Forbidden, Refused, Trouble
from unitalk import wire
from unitalk.client import NOBODY, Origin, UnitalkClient
from unitalk.structure import shape
from unitalk.values import identity_of, simple_name
from unitalk.wire import Said

WINDOW: Final = 7 * 86_400.0
"""Seconds of history in which rows are looked for."""
ROWS: Final = 20
"""Rows of history that are looked at: enough to meet calls in each direction."""
HISTORY: Final = "history/get"
DIALERS: Final = "autodial/action GET_WITH_DATA"
DIALERS_CALLS: Final = "autodial/action GET_CALLS_HISTORY"


def questions(now: float, timezone: str) -> dict[str, Said]:
    """What is asked, by the name under which the answer is shown."""
    begin, end = wire.wall_window(now - WINDOW, now, timezone)
    return {
        "users/list": wire.users_list(),
        HISTORY: wire.history_get(begin, end, limit=ROWS),
        DIALERS: wire.autodial({"action": "GET_WITH_DATA"}),
    }


async def structure(
    pbx: UnitalkClient, key: str, now: float, timezone: str, origin: Origin = NOBODY
) -> dict[str, Any]:
    """Question → structure of its answer; `{"trouble": …}` where there was none, `{"refused": …}` where
    the PBX does not know a method that the contract itself doubts (§4.6).
    """
    told: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    waiting = questions(now, timezone)
    while waiting:
        name = next(iter(waiting))
        said = waiting.pop(name)
        try:
            answer = await pbx.request(key, said.path, reads=True, data=said.data, origin=origin)
        except Forbidden as no:
            told[name] = _trouble(no)
            break  # the others would hear the same
        except Refused as no:
            told[name] = (
                {"refused": no.code, "message": no.message} if name == DIALERS_CALLS else _trouble(no)
            )
        except Trouble as trouble:
            told[name] = _trouble(trouble)
        else:
            raw[name], told[name] = answer, shape(answer)
            if name == HISTORY and isinstance(told[name], dict):
                told[name]["id_equals_dbid"] = _same_ids(answer)
            if name == DIALERS and (dialer := dialer_in(answer)) is not None:
                waiting[DIALERS_CALLS] = wire.dialers_calls(
                    dialer, [r["id"] for r in _rows(raw.get(HISTORY))]
                )
    return told


def dialer_in(answer: Any) -> int | str | None:
    """The id of a dialer in the answer of GET_WITH_DATA, whose keys are unknown: of the lists whose
    elements have an `id` and a `name` the one that is named after dialers, else one that is not audio.
    """
    lists = sorted(_named_lists(answer), key=lambda pair: "dial" not in pair[0])
    for name, elements in lists:
        if "audio" not in name:
            found = elements[0]["id"]
            return found if isinstance(found, int) else str(found)
    return None


def _named_lists(answer: Any) -> Iterator[tuple[str, list[Any]]]:
    waiting: list[tuple[str, Any, int]] = [("", answer, 0)]
    while waiting:
        name, value, depth = waiting.pop(0)
        if isinstance(value, Mapping) and depth < 3:
            waiting += [(simple_name(key), inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list) and value and all(_is_named(one) for one in value):
            yield name, value


def _is_named(one: Any) -> bool:
    return isinstance(one, Mapping) and identity_of(one.get("id")) is not None and "name" in one


def _rows(answer: Any) -> list[Mapping[str, Any]]:
    try:
        rows = wire.read_history(answer).rows
    except Trouble:
        return []
    return [row for row in rows if identity_of(row.get("id")) is not None]


def _same_ids(answer: Any) -> str:
    """Whether `id` is the lasting id again or one of its own (§4.4): «2 of 20»."""
    rows = _rows(answer)
    same = sum(identity_of(row["id"]) == identity_of(row.get("dbid")) for row in rows)
    return f"{same} of {len(rows)}"


def _trouble(trouble: Trouble) -> dict[str, str]:
    return {"trouble": trouble.code, "message": trouble.message, "hint": trouble.hint}
