"""One request to the API as the methods see it, and the two envelopes (unitalk.md §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SUCCESS: Mapping[str, Any] = {"status": "Success", "message": None}


class ApiError(Exception):
    """Becomes `{"status": "Error", "message": text}` with HTTP 200."""

    def __init__(self, text: str, data: Any = None) -> None:
        super().__init__(text)
        self.text = text
        self.data = data

    def envelope(self) -> dict[str, Any]:
        envelope: dict[str, Any] = {"status": "Error", "message": self.text}
        if self.data is not None:
            envelope["data"] = self.data
        return envelope


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """The three places where parameters travel; a method reads only its own, as the vendor would."""

    method: str
    form: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None

    @property
    def body(self) -> Mapping[str, Any]:
        """The JSON object, empty when the body is something else."""
        return self.json if isinstance(self.json, dict) else {}

    @property
    def params(self) -> dict[str, Any]:
        """Everything that came, for the log and for faults that look at it."""
        return {**self.query, **self.form, **self.body}

    @property
    def names(self) -> tuple[str, ...]:
        """Spellings for faults: the path, and with its action for `autodial/action:START`."""
        action = self.body.get("action")
        return (self.method, f"{self.method}:{action}") if isinstance(action, str) else (self.method,)


@dataclass(slots=True)
class RequestLine:
    """One line of the log of requests. `key` is masked; `outcome` says what the answer was."""

    at: float
    method: str
    params: Mapping[str, Any]
    key: str
    outcome: str = ""


def masked_key(header: str) -> str:
    """Enough of a key to tell two apart, never enough to use one."""
    key = bare_key(header)
    return "" if not key else f"{key[:3]}***"


def bare_key(header: str) -> str:
    """`Authorization: <key>` and `Authorization: Bearer <key>` say the same (§1)."""
    scheme, _, rest = header.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else header.strip()
