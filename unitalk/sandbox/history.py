"""`history/get` and `history/setComment`: the PBX's own memory of calls (unitalk.md §4.4).

A row appears when its call is over, but is sorted by the call's start: a long call turns up behind the
newest rows. All comparing is done on wall-clock text, as a database column without a zone does it, so in
the autumn hour that occurs twice two hours of calls share one hour of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from bitrix_app.core.ports import Clock
from unitalk.sandbox.bodies import history_row
from unitalk.sandbox.book import CallBook
from unitalk.sandbox.envelope import SUCCESS, ApiError, ApiRequest
from unitalk.sandbox.model import SandboxCall
from unitalk.sandbox.options import Options
from unitalk.sandbox.walltime import is_wall

UTM_FILTERS = {
    "utmSource": "utmSource",
    "utmMedium": "utmMedium",
    "utmCampaign": "utmCampaign",
    "utmCampaing": "utmCampaign",  # the vendor's own spelling in 2017
    "utmTerm": "utmTerm",
    "utmContent": "utmContent",
}


class History:
    """The rows a client may see now. `grow` makes one more call, for windows that shift while one reads."""

    def __init__(self, clock: Clock, book: CallBook, options: Options, grow: Callable[[str], None]) -> None:
        self._clock = clock
        self._book = book
        self._options = options
        self._grow = grow

    def get(self, request: ApiRequest) -> dict[str, Any]:
        if not isinstance(request.json, dict):
            raise ApiError("Query null")
        date_from, date_to, limit, offset, wanted = self._checked(request.body)
        if offset > 0:
            for _ in range(self._options.history_grows):
                self._grow(date_to)
        rows = [call for call in self._visible() if date_from <= call.date <= date_to]
        matching = [call for call in rows if self._matches(call, wanted)]
        matching.sort(key=lambda call: (call.date, call.dbid or 0), reverse=True)
        page = matching[offset : offset + limit]
        calls = [history_row(call, self._options) for call in page]
        if self._options.history_legacy:
            return {"limit": limit, "offset": offset, "count": len(matching), "calls": calls}
        return {"count": len(matching), "calls": calls, "warning": self._options.history_warning}

    def set_comment(self, request: ApiRequest) -> Mapping[str, Any]:
        """2017's texts; by `dbid`, the only lasting key."""
        wanted, comment = request.body.get("id"), request.body.get("comment")
        if wanted is None:
            raise ApiError("Id is null")
        if not isinstance(comment, str) or not comment.strip():
            raise ApiError("Comment is blank")
        if len(comment) > 100:
            raise ApiError("Comment limit")
        for call in self._visible():
            if str(call.dbid) == str(wanted):
                call.comment = comment
                return SUCCESS
        raise ApiError("Call not found")

    def _checked(self, body: Mapping[str, Any]) -> tuple[str, str, int, int, Mapping[str, Any]]:
        date_from, date_to = body.get("dateFrom"), body.get("dateTo")
        if not is_wall(date_from):
            raise ApiError("Wrong FROM date", "dateFrom")
        if not is_wall(date_to):
            raise ApiError("Wrong TO date", "dateTo")
        limit, offset, wanted = body.get("limit"), body.get("offset"), body.get("filter")
        most = self._options.history_max
        if not _is_int(limit) or not 1 <= limit <= most:
            raise ApiError(f"Limit range is 1-{most}")
        if not _is_int(offset) or offset < 0:
            raise ApiError("Offset is less than 0")
        if not isinstance(wanted, dict):
            raise ApiError("Query null")
        return str(date_from), str(date_to), limit, offset, wanted

    def _visible(self) -> list[SandboxCall]:
        self._book.save_ended()
        told_until = self._clock.now() - self._options.history_delay
        return [call for call in self._book.calls if self._kept(call) and call.ended_at <= told_until]

    def _kept(self, call: SandboxCall) -> bool:
        return call.in_history and (self._options.autodial_in_history or call.kind != "autodial")

    def _matches(self, call: SandboxCall, wanted: Mapping[str, Any]) -> bool:
        """All conditions joined by AND; unknown ones are ignored, null means "no such condition"."""
        return all(
            self._matches_one(call, name, value) for name, value in wanted.items() if value is not None
        )

    def _matches_one(self, call: SandboxCall, name: str, value: Any) -> bool:
        if name == "direction":
            return bool(call.direction == value)
        if name == "answered":
            return call.answered is bool(value)
        if name == "lost":
            return self._lost(call) is bool(value)
        if name == "calledFrom":
            return call.end.from_ in _texts(value)
        if name == "calledTo":
            return bool(set(call.end.to) & _texts(value))
        if name == "outerNum":
            return call.line in _texts(value)
        if name in UTM_FILTERS:
            return bool((call.tracking or {}).get(UTM_FILTERS[name]) == value)
        return True

    def _lost(self, call: SandboxCall) -> bool:
        """Missed, and since then neither called back nor heard again with success (§4.4)."""
        if call.direction != "IN" or call.answered:
            return False
        return not any(
            other.answered and other.number == call.number and other.started_at > call.started_at
            for other in self._visible()
        )


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(value: Any) -> set[str]:
    return {str(item) for item in value} if isinstance(value, list) else {str(value)}
