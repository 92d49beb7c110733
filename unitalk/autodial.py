"""The autodialer's adapter: typed helpers over the one raw action method (unitalk.md §4.6).

Only the path, the mandatory `action` and the request of `GET_WITH_DATA` are the vendor's own word. So
bodies come from the portal's templates, and answers are read tolerantly: dialers are found by their
structure, our own marks wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bitrix_app.core.campaigns import Phone
from bitrix_app.core.dialer_templates import READS, body
from bitrix_app.core.errors import Unreadable
from unitalk.client import NOBODY, Origin, UnitalkClient
from unitalk.values import simple_name

DEPTH: Final = 6
MOST: Final = 500
"""Dialers that are taken from one answer."""
REFERENCE: Final = ("audios",)
"""Lists with ids and names that are certainly no dialers."""
_STATUS: Final = ("status", "state", "autodialstatus", "autodialerstatus", "isrunning", "running", "active")
_IDS: Final = (str, int)


@dataclass(frozen=True, slots=True)
class SeenDialer:
    """A dialer as the account shows it. `id` keeps its type, because the PBX wants it back so. `path` is
    the list in which it was found, `phones` how many phones it shows, `None` for none.
    """

    id: str | int
    name: str
    path: str
    status: str = ""
    phones: int | None = None

    @property
    def key(self) -> str:
        return str(self.id)


class Autodialer:
    """One portal's dialers: its key and its templates."""

    def __init__(
        self, pbx: UnitalkClient, key: str, templates: Mapping[str, Any], origin: Origin = NOBODY
    ) -> None:
        self._pbx = pbx
        self._key = key
        self._templates = templates
        self._origin = origin

    async def read(self) -> Any:
        """`GET_WITH_DATA` as it comes; see `dialers_in` and `metas_in`."""
        return await self._pbx.autodial(self._key, READS, self._origin)

    async def add(self, dialer: str | int, phones: Sequence[Phone]) -> None:
        """`ADD_PHONES`. `AnswerLost` means that the PBX may have them: it is never said again on a guess."""
        await self._say("add_phones", dialer, phones)

    async def switch(self, dialer: str | int, *, on: bool) -> None:
        """`START` or `STOP`."""
        await self._say("start" if on else "stop", dialer)

    async def calls(self, dialer: str | int) -> Any:
        """`GET_CALLS_HISTORY` as it comes."""
        return await self._say("calls_history", dialer)

    async def _say(self, name: str, dialer: str | int, phones: Sequence[Phone] = ()) -> Any:
        said = body(self._templates, name, dialer, phones)
        return await self._pbx.autodial(self._key, said, self._origin)


def dialers_in(answer: Any) -> list[SeenDialer]:
    """Elements with an `id` and a `name` of the answer's lists, those of lists named after dialers first.

    Raises `Unreadable` when there is no list of such elements at all, not even an empty one.
    """
    lists = list(_lists(answer, ""))
    if not lists:
        raise Unreadable("The PBX's answer about its autodialers holds no list.", code="NO_DIALERS")
    found: dict[str, SeenDialer] = {}
    for path, elements in sorted(lists, key=lambda one: "dial" not in one[0].lower()):
        for element in elements:
            seen = _dialer(path, element)
            if seen is not None and len(found) < MOST:
                found.setdefault(seen.key, seen)
    return list(found.values())


def metas_in(answer: Any) -> frozenset[str]:
    """Every text that stands under the name `meta`, wherever it is."""
    return frozenset(_metas(answer, 0))


def _metas(part: Any, depth: int) -> Iterator[str]:
    if depth > DEPTH:
        return
    if isinstance(part, Mapping):
        for name, inner in part.items():
            if simple_name(str(name)) in ("meta", "phonemeta") and isinstance(inner, _IDS):
                yield str(inner).strip()
            else:
                yield from _metas(inner, depth + 1)
    elif isinstance(part, list):
        for inner in part:
            yield from _metas(inner, depth + 1)


def _lists(part: Any, path: str, depth: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """Lists of objects near the root; a dialer's own lists (its audios, its phones) are not looked into."""
    if depth > 3:
        return
    if isinstance(part, list):
        yield path or "(root)", part
    elif isinstance(part, Mapping):
        for name, inner in part.items():
            if simple_name(str(name)) not in REFERENCE and not {"id", "name"} <= {*map(str, part)}:
                yield from _lists(inner, f"{path}.{name}".lstrip("."), depth + 1)


def _dialer(path: str, element: Any) -> SeenDialer | None:
    if not isinstance(element, Mapping):
        return None
    plain = {simple_name(str(name)): value for name, value in element.items()}
    id_, name = plain.get("id"), plain.get("name")
    if isinstance(id_, bool) or not isinstance(id_, _IDS) or not isinstance(name, str):
        return None
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(id_)):
        return None
    status = next((plain[x] for x in _STATUS if isinstance(plain.get(x), str | bool)), "")
    phones = plain.get("phones", plain.get("numbers"))
    return SeenDialer(
        id=id_,
        name=" ".join(name.split())[:200],
        path=path[:200],
        status=str(status).lower() if isinstance(status, bool) else str(status)[:60],
        phones=len(phones) if isinstance(phones, list) else None,
    )
