"""The table of REST methods: name, scope, and the function that does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitrix_app.sandbox.world import Hit

Work = Callable[[Hit], Any]


@dataclass(frozen=True)
class Method:
    """A REST method. `scopes`: any of them opens it, none means everybody may call (§12, §14)."""

    name: str
    work: Work
    scopes: tuple[str, ...] = ()
    app_only: bool = False


class Registry:
    """Methods by lower-case name: names ignore case (§4.1)."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def add(self, name: str, *scopes: str, app_only: bool = False) -> Callable[[Work], Work]:
        """Decorator: this function is that method."""

        def register(work: Work) -> Work:
            self._methods[name.lower()] = Method(name, work, scopes, app_only)
            return work

        return register

    def find(self, name: str) -> Method | None:
        return self._methods.get(name.lower())

    def names(self, scopes: tuple[str, ...] | None = None) -> list[str]:
        """Names of all methods, or of those that these scopes open."""
        return [
            method.name
            for method in self._methods.values()
            if scopes is None or not method.scopes or set(method.scopes) & set(scopes)
        ]


METHODS = Registry()
