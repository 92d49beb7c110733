"""`autodial/action`: the dialers as the API shows them (unitalk.md §4.6; all but the path and `audios` is
assumed). Their work is `dialling.Dialling`'s.

Duplicates in `ADD_PHONES` are taken as they come: nothing is known of a check on the vendor's side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.core.ports import Clock
from unitalk.sandbox.book import CallBook
from unitalk.sandbox.dialling import Dialling
from unitalk.sandbox.envelope import SUCCESS, ApiError, ApiRequest
from unitalk.sandbox.model import Dialer, DialerPhone
from unitalk.sandbox.options import Options

MOST_PHONES = 1000


class Autodial:
    """All dialers of the project."""

    def __init__(self, clock: Clock, book: CallBook, options: Options, dialling: Dialling) -> None:
        self._clock = clock
        self._book = book
        self._options = options
        self._dialling = dialling
        self.dialers: dict[int, Dialer] = {77: Dialer(77, "Demo autodialer", audios=[501])}
        self.audios: dict[int, str] = {501: "demo-1"}

    def action(self, request: ApiRequest) -> Any:
        match request.body.get("action"):
            case "GET_WITH_DATA":
                return self._with_data()
            case "GET_CALLS_HISTORY":
                return self._calls_history(request.body)
            case "ADD_PHONES":
                return self._add_phones(request.body)
            case "START":
                return self.start(self._dialer(request.body))
            case "STOP":
                return self.stop(self._dialer(request.body))
            case "DELETE":
                dialer = self._dialer(request.body)
                self.stop(dialer)
                del self.dialers[dialer.id]
                return SUCCESS
            case _:
                # SAVE too: dialers are made in the cabinet, and a client must never try (design rule 3).
                raise ApiError("Unknown action")

    def start(self, dialer: Dialer) -> Mapping[str, Any]:
        self._dialling.start(dialer)
        return SUCCESS

    def stop(self, dialer: Dialer) -> Mapping[str, Any]:
        self._dialling.stop(dialer)
        return SUCCESS

    def _dialer(self, body: Mapping[str, Any]) -> Dialer:
        dialer = self.dialers.get(body["id"]) if isinstance(body.get("id"), int) else None
        if dialer is None:
            raise ApiError("Autodial not found")
        return dialer

    def _with_data(self) -> dict[str, Any]:
        return {
            "autodials": [self._shown(dialer) for dialer in self.dialers.values()],
            "audios": [{"id": id_, "name": name} for id_, name in self.audios.items()],
        }

    def _shown(self, dialer: Dialer) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": dialer.id,
            "name": dialer.name,
            "status": dialer.status,
            "audios": [{"id": audio} for audio in dialer.audios],
        }
        shows = self._options.autodial_shows
        if shows == "nothing":
            return row
        row["phones"] = [
            {
                "number": phone.number,
                **({"meta": phone.meta} if shows == "meta" else {}),
                "realCalledCount": phone.attempts,
                "callState": phone.call_state,
            }
            for phone in dialer.phones
        ]
        return row

    def _add_phones(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        dialer, phones = self._dialer(body), body.get("phones")
        if not isinstance(phones, list) or not phones:
            raise ApiError("Phones are empty")
        if len(phones) > MOST_PHONES:
            raise ApiError("Too many phones")
        new = [DialerPhone(_number(phone), phone.get("meta")) for phone in phones if isinstance(phone, dict)]
        if len(new) != len(phones):
            raise ApiError("Wrong phone")
        dialer.phones += new
        self._dialling.resume(dialer)
        return SUCCESS

    def _calls_history(self, body: Mapping[str, Any]) -> dict[str, Any]:
        dialer = self._dialer(body)
        asked = body.get("callHistoryRequest") or {}
        wanted = (asked.get("filter") or {}).get("id")
        ids = None if wanted is None else {str(item) for item in wanted}
        now = self._clock.now()
        self._book.save_ended()
        ended = (call for call in self._book.calls if call.dialer_id == dialer.id and call.ended(now))
        return {
            "items": [
                {
                    "id": call.live_id,
                    "phone": call.number,
                    "callState": call.state,
                    "secondsClientWaitOperator": call.wait_operator or 0,
                    "secondsFullTime": call.seconds_full,
                    "secondsTalk": call.seconds_talk,
                    "date": call.date,
                    "meta": call.meta if self._options.meta_in_history else None,
                }
                for call in ended
                if ids is None or {str(call.live_id), str(call.dbid)} & ids
            ]
        }


def _number(phone: Mapping[str, Any]) -> str:
    number = phone.get("number")
    if not (isinstance(number, str) and number.isdigit()):
        raise ApiError("Wrong phone")
    return number
