"""Faults on demand: what goes wrong between us and a portal, and when.

Matching is by name with wildcards: a REST method in lower case (inner commands of a batch too),
`upload`, `download`, `oauth.token`, `oauth.app.info`, or `*`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from bitrix_app.sandbox.errors import STATUS_OF_CODE, TEXT_OF_CODE

Kind = Literal[
    "status",  # this status and body, no effect
    "error_200",  # HTTP 200 with an error body, no effect
    "lost",  # the effect is done, then the connection is dropped
    "refused_before",  # the connection is dropped, no effect
    "late",  # the connection is dropped, the effect lands `seconds` after
    "slow",  # `seconds` pass, then all is normal
    "expired_token",
    "throttled",
    "html",  # an HTML page, by default with 502 and without effect
    "empty",  # HTTP 200 without a body; the effect is done
    "truncated",  # half of the answer, then the connection is dropped; the effect is done
]
_EFFECTIVE: frozenset[str] = frozenset({"lost", "late", "slow", "empty", "truncated"})

HTML_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(eq=False)
class Fault:
    """One fault: which requests, what happens, how often (`times=None`: until removed).

    `after` lets that many matching requests pass first. `when` narrows by the request's parameters.
    `effect` overrides whether the work is done before the bad answer (html, empty, truncated, status).
    """

    match: str
    kind: Kind
    times: int | None = 1
    after: int = 0
    status: int | None = None
    body: Mapping[str, Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    effect: bool | None = None
    when: Callable[[Mapping[str, Any]], bool] | None = None
    hits: int = 0

    @classmethod
    def code(cls, code: str, match: str = "*", *, times: int | None = 1, after: int = 0) -> Fault:
        """A refusal of §4.3 or §3.4 with its usual status and text."""
        kind: Kind = "error_200" if STATUS_OF_CODE.get(code, 400) == 200 else "status"
        body = {"error": code, "error_description": TEXT_OF_CODE.get(code, code)}
        return cls(match, kind, times, after, status=STATUS_OF_CODE.get(code, 400), body=body)

    @property
    def has_effect(self) -> bool:
        return self.kind in _EFFECTIVE if self.effect is None else self.effect

    def error(self) -> tuple[int, dict[str, Any] | str]:
        """Status and body of the kinds that answer badly instead of working."""
        if self.kind == "expired_token":
            return 401, {"error": "expired_token", "error_description": TEXT_OF_CODE["expired_token"]}
        if self.kind == "throttled":
            text = TEXT_OF_CODE["QUERY_LIMIT_EXCEEDED"]
            return 503, {"error": "QUERY_LIMIT_EXCEEDED", "error_description": text}
        if self.kind == "html":
            return self.status or 502, self.body if isinstance(self.body, str) else HTML_PAGE
        status = 200 if self.kind == "error_200" else (self.status or 500)
        if self.body is None:
            text = TEXT_OF_CODE["INTERNAL_SERVER_ERROR"]
            return status, {"error": "INTERNAL_SERVER_ERROR", "error_description": text}
        return status, self.body if isinstance(self.body, str) else dict(self.body)


class Faults:
    """The faults waiting to happen, in the order they were added."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        self.happened: list[tuple[str, Fault]] = []

    def add(self, fault: Fault) -> Fault:
        """Arm a fault; returns it, so that `hits` can be read later."""
        self.active.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Disarm; harmless when it has run out."""
        if fault in self.active:
            self.active.remove(fault)

    def clear(self) -> None:
        """Disarm all."""
        self.active.clear()

    def take(self, name: str, params: Mapping[str, Any]) -> Fault | None:
        """The fault for this request, if any; counts it."""
        for fault in self.active:
            if not fnmatchcase(name, fault.match.lower()) or (fault.when and not fault.when(params)):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.hits += 1
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.active.remove(fault)
            self.happened.append((name, fault))
            return fault
        return None
