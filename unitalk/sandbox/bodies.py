"""The words of the PBX: webhook bodies and history rows, made of a call and one step of it. Pure.

Field sets and their order follow the samples `contracts/unitalk/webhook_*.json` (unitalk.md §3.3, §3.8)
and `api_history_get_response.json` (§4.4).
"""

from __future__ import annotations

from typing import Any

from unitalk.sandbox.model import TERMINAL, TRACKING_FIELDS, SandboxCall, Step
from unitalk.sandbox.options import Options

Body = dict[str, Any]


def webhook_body(call: SandboxCall, step: Step, options: Options) -> Body:
    """The Standard JSON of one step; dialer calls carry `autodialerId` beside `call` (§3.8, assumed)."""
    if step.event == "IVR_ACTION":
        meta = _meta(call, step.event, options)
        return {"event": step.event, "meta": meta, "pressedDigit": call.pressed_digit}
    if call.dialer_id is not None and step.event == TERMINAL and options.autodial_flat:
        return _flat_dialer_end(call, options)
    body: Body = {"event": step.event}
    if call.dialer_id is not None:
        body["autodialerId"] = call.dialer_id
    body["call"] = _call_fields(call, step, options)
    return body


def without_dialer(body: Body) -> Body:
    """The same event as a plain one, for the case that a dialer's call raises both (§3.8, unknown)."""
    return {key: value for key, value in body.items() if key != "autodialerId"}


def history_row(call: SandboxCall, options: Options) -> Body:
    """A row of `history/get`: all fields of the terminal event and the tracking block, always whole."""
    fields = _call_fields(call, call.end, options)
    fields.pop("secondsClientWaitOperator", None)
    fields["meta"] = call.meta if options.meta_in_history else None
    if options.history_id == "dbid":
        fields["id"] = call.dbid
    return fields | _tracking(call)


def template_fields(call: SandboxCall, step: Step, options: Options) -> dict[str, str]:
    """The variables of a custom template, all strings, empty for unset (§3.7)."""
    fields = _call_fields(call, step, options)
    texts = {
        "call_id": fields["id"],
        "call_from": fields["from"],
        "call_to_0": step.to[0] if step.to else None,
        "call_outernumber": fields["outerNumber"],
        "call_direction": fields["direction"],
        "call_date": fields["date"],
        "call_state": fields["state"],
        "call_link": fields["link"],
        "call_secondstalk": fields.get("secondsTalk"),
        "call_secondsfulltime": fields.get("secondsFullTime"),
    }
    return {name: "" if value is None else str(value) for name, value in texts.items()}


def _call_fields(call: SandboxCall, step: Step, options: Options) -> Body:
    ended = step.event == TERMINAL
    state = call.state if ended else None
    if step.event == "CALL_ANSWER":
        state = options.answer_state
    fields: Body = {
        "id": call.live_id,
        "dbid": call.dbid if ended else None,
        "from": step.from_,
        "to": list(_end_lines(step.to, call, options) if ended else step.to),
        "lastGroupName": step.group,
        "outerNumber": call.line,
        "direction": call.direction,
        "date": call.date,
    }
    if ended:
        fields["secondsFullTime"] = call.seconds_full
        fields["secondsTalk"] = call.seconds_talk
    fields |= {
        "callback": call.callback,
        "state": state,
        "source": call.source,
        "link": call.link if ended else None,
        "cause": call.cause if ended else None,
        "meta": _meta(call, step.event, options),
    }
    if ended and call.wait_operator is not None:
        fields["secondsClientWaitOperator"] = call.wait_operator
    if ended and call.tracking is not None:
        fields |= _tracking(call)
    return fields


def _end_lines(to: tuple[str, ...], call: SandboxCall, options: Options) -> tuple[str, ...]:
    if call.direction != "IN" or len(call.answered_by) < 2:
        return to
    talked = tuple(call.answered_by)
    if options.transfer_to == "last":
        return talked[-1:]
    return talked[:1] if options.transfer_to == "first" else talked


def _tracking(call: SandboxCall) -> Body:
    known = call.tracking or {}
    block: Body = {"comment": call.comment, "hasSeparateRecords": False}
    return block | {name: known.get(name) for name in TRACKING_FIELDS}


def _meta(call: SandboxCall, event: str, options: Options) -> str | int | None:
    """Our own text, in the events that give it back."""
    echoing = options.meta_events if call.dialer_id is None else options.autodial_meta_events
    return call.meta if echoing is None or event in echoing else None


def _flat_dialer_end(call: SandboxCall, options: Options) -> Body:
    return {
        "event": "AUTODIAL_CALL_END",
        "id": call.dialer_id,
        "callId": call.live_id,
        "phone": call.number,
        "meta": _meta(call, TERMINAL, options),
        "callState": call.state,
        "realCalledCount": 1,
        "date": call.date,
    }
