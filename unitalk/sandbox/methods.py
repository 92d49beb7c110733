"""The API's methods by path (unitalk.md §4): what each reads, does and answers.

Methods are plain functions of a request: so a fault can do their work later, or without an answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unitalk.sandbox.autodial import Autodial
from unitalk.sandbox.envelope import SUCCESS, ApiError, ApiRequest
from unitalk.sandbox.history import History
from unitalk.sandbox.operators import Operators
from unitalk.sandbox.options import Options

Method = Callable[[ApiRequest], Any]
DirectCall = Callable[[str, str, str | None], None]
Originate = Callable[[str, str | None, str | int | None], None]


@dataclass(frozen=True, slots=True)
class Message:
    """A text sent by `message/send`."""

    to: str
    text: str


class Methods:
    """The table of methods and the small ones among them."""

    def __init__(
        self,
        options: Options,
        desk: Operators,
        history: History,
        autodial: Autodial,
        direct_call: DirectCall,
        originate: Originate,
    ) -> None:
        self._options = options
        self._desk = desk
        self._autodial = autodial
        self._direct_call = direct_call
        self._originate = originate
        self._audio_ids = itertools.count(502)
        self.messages: list[Message] = []
        self.table: Mapping[str, Method] = {
            "phones/directCall": self._phones_direct_call,
            "calls/originateNew": self._calls_originate_new,
            "phones/inner/setStatus": self._set_status,
            "history/get": history.get,
            "history/setComment": history.set_comment,
            "users/list": self._users_list,
            "autodial/action": autodial.action,
            "audio/upload": self._audio_upload,
            "audio/tts": self._audio_tts,
            "message/send": self._message_send,
        }

    def call(self, request: ApiRequest) -> Any:
        """The bare data, or an `ApiError`."""
        method = self.table.get(request.method)
        if method is None:
            raise ApiError("Method not found")
        return method(request)

    def _phones_direct_call(self, request: ApiRequest) -> Mapping[str, Any]:
        """Form fields only: JSON is untested with the vendor, so here it does not work (§4.1)."""
        sip, number = request.form.get("sip", ""), request.form.get("number", "")
        operator = self._desk.find(sip)
        if operator is None:
            raise ApiError("Sip not found")
        if not operator.online:
            raise ApiError("Sip is offline")
        self._direct_call(sip, _client(number), request.form.get("meta"))
        return SUCCESS

    def _calls_originate_new(self, request: ApiRequest) -> Mapping[str, Any]:
        body = request.body
        if not any(body.get(name) for name in ("audios", "mainAudio", "ivrId")):
            raise ApiError("Audios is empty")
        meta = body.get("meta")
        if isinstance(meta, str) and len(meta) > 1000:
            raise ApiError("Meta length more than 1000 chars")
        self._originate(_client(body.get("phone")), body.get("outerLine"), meta)
        return SUCCESS

    def _set_status(self, request: ApiRequest) -> Mapping[str, Any]:
        """Query parameters, no body (§4.3)."""
        number, status = request.query.get("number", ""), request.query.get("status", "")
        self._desk.set_status(number, status)
        return SUCCESS

    def _users_list(self, request: ApiRequest) -> Any:  # noqa: ARG002  the body is always `{}`
        users = [
            {"id": one.id, "firstName": one.first_name, "lastName": one.last_name, "line": one.line}
            for one in self._desk.operators
        ]
        wrapper = self._options.users_wrapper
        return users if wrapper is None else {wrapper: users}

    def _audio_upload(self, request: ApiRequest) -> Mapping[str, Any]:
        name = request.form.get("name", "")
        if "file" not in request.form:
            raise ApiError("File is null")
        if not name:
            raise ApiError("Name is empty")
        if len(name) > 200:
            raise ApiError("Name length more than 200 chars")
        return {**SUCCESS, "data": {"id": self._new_audio(name)}}

    def _audio_tts(self, request: ApiRequest) -> Mapping[str, Any]:
        entries = request.body.get("data")
        if not isinstance(entries, list):
            raise ApiError("Query null")
        names = [str(entry.get("name", "")) for entry in entries if isinstance(entry, dict)]
        data = [{"name": name, "id": self._new_audio(name), "error": None} for name in names]
        return {**SUCCESS, "res": None, "data": data}

    def _new_audio(self, name: str) -> int:
        audio = next(self._audio_ids)
        self._autodial.audios[audio] = name
        return audio

    def _message_send(self, request: ApiRequest) -> Mapping[str, Any]:
        body = request.body
        if body.get("messageType") != "SMS" or not body.get("text"):
            raise ApiError("Wrong message")
        self.messages.append(Message(_client(body.get("to")), str(body["text"])))
        return SUCCESS


def _client(number: Any) -> str:
    """Clients are digits with the country code and no plus (§2)."""
    if not (isinstance(number, str) and number.isdigit() and 10 <= len(number) <= 15):
        raise ApiError("Wrong number")
    return number
