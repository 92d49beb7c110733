"""`GET /tracking/rec/<unique-id>/<date>`: the recordings and their moods (unitalk.md §3.6)."""

from __future__ import annotations

from starlette.responses import HTMLResponse, JSONResponse, Response

from bitrix_app.core.ports import Clock
from unitalk.sandbox.audio import MEDIA_TYPES, recording
from unitalk.sandbox.book import CallBook
from unitalk.sandbox.faults import PAGE
from unitalk.sandbox.options import Options


class Recordings:
    """Answers for the files of the book's calls; a link is a bearer capability, the key is optional."""

    def __init__(self, clock: Clock, book: CallBook, options: Options) -> None:
        self._clock = clock
        self._book = book
        self._options = options

    def answer(self, unique_id: str, date: str, authorized: bool) -> Response:
        if self._options.recording_needs_key and not authorized:
            return JSONResponse({"status": "Error", "message": "Authorization invalid"}, 401)
        call = self._book.by_recording(unique_id)
        if call is None or call.link is None or call.date[:10] != date:
            return HTMLResponse(PAGE.format("Not found"), 404)
        if self._clock.now() < call.ended_at + self._options.recording_ready_after:
            return self._not_yet()
        kind = self._options.recording_format
        # Whole seconds keep the cache of made files small.
        seconds = min(float(max(1, call.seconds_talk)), self._options.recording_max_seconds)
        return Response(recording(kind, seconds), media_type=MEDIA_TYPES[kind])

    def _not_yet(self) -> Response:
        match self._options.recording_before_ready:
            case "html":
                return HTMLResponse(PAGE.format("The record is being prepared"))
            case "json":
                return JSONResponse({"status": "Error", "message": "Internal error"})
            case "500":
                return HTMLResponse(PAGE.format("Internal Server Error"), 500)
            case _:
                return HTMLResponse(PAGE.format("Not found"), 404)
