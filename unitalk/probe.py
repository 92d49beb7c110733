"""The real structure of the PBX's answers, where the contract is unsure (unitalk.md §4.4–4.6, §6).

Three reads, none of which changes anything at the PBX; what comes back is masked (`unitalk.structure`).
"""

from __future__ import annotations

from typing import Any, Final

from bitrix_app.core.errors import Forbidden, Trouble
from unitalk import wire
from unitalk.client import NOBODY, Origin, UnitalkClient
from unitalk.structure import shape
from unitalk.wire import Said

WINDOW: Final = 7 * 86_400.0
"""Seconds of history in which one row is looked for."""


def questions(now: float, timezone: str) -> dict[str, Said]:
    """What is asked, by the name under which the answer is shown."""
    begin, end = wire.wall_window(now - WINDOW, now, timezone)
    return {
        "users/list": wire.users_list(),
        "history/get": wire.history_get(begin, end, limit=1),
        "autodial/action GET_WITH_DATA": wire.autodial({"action": "GET_WITH_DATA"}),
    }


async def structure(
    pbx: UnitalkClient, key: str, now: float, timezone: str, origin: Origin = NOBODY
) -> dict[str, Any]:
    """Question → structure of its answer, or `{"trouble": …}` where there was none."""
    told: dict[str, Any] = {}
    for name, said in questions(now, timezone).items():
        try:
            answer = await pbx.request(key, said.path, reads=True, data=said.data, origin=origin)
        except Trouble as trouble:
            told[name] = {"trouble": trouble.code, "message": trouble.message, "hint": trouble.hint}
            if isinstance(trouble, Forbidden):
                break  # the others would hear the same
        else:
            told[name] = shape(answer)
    return told
