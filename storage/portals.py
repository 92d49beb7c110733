"""Portals, their tokens and everything of theirs that is secret: sealed in the rows, clear in values."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from bitrix_app.core.portal import (
    Portal,
    PortalSettings,
    PortalState,
    TokenPair,
    pack_settings,
    unpack_settings,
)
from bitrix_app.core.ports import Clock
from bitrix_app.core.store import Vault, WebhookToken
from storage.queries import load
from storage.rows import Row, decode, encode

_P: Final = load("portals")
_SETTINGS: Final = frozenset(f.name for f in fields(PortalSettings))


def _seal(vault: Vault, clear: str, portal: str, field: str) -> bytes | None:
    return vault.seal(clear, portal, field) if clear else None


def _open(vault: Vault, sealed: bytes | None, portal: str, field: str) -> str:
    return "" if sealed is None else vault.open(sealed, portal, field)


def portal_from(vault: Vault, row: Row) -> Portal:
    member_id = row[0]
    return Portal(
        member_id=member_id,
        domain=row[1],
        client_endpoint=row[2],
        auth_server=row[3],
        application_token=_open(vault, row[4], member_id, "application_token"),
        scope=tuple(decode(row[5])),
        status=row[6],
        state=PortalState(row[7]),
        state_reason=row[8],
        state_since=row[9],
        language=row[10],
        license_family=row[11],
        app_code=row[12],
        version=row[13],
        rest_app_id=row[14],
        installed_by=row[15],
        unitalk_key=_open(vault, row[16], member_id, "unitalk_key"),
        settings=unpack_settings(decode(row[17])),
        created_at=row[18],
        updated_at=row[19],
    )


@dataclass(slots=True)
class _Pages:
    """What is remembered of one state of the file."""

    epoch: int
    portals: dict[str, Portal]
    tokens: dict[bytes, tuple[str, float | None]] | None = None


class PortalBook:
    """Portals and webhook tokens, remembered between writes.

    Each webhook asks for both, and they hardly ever change. Only this process writes the file and
    only through here, so what was read stays true until the next such write: `touched` marks it
    inside a group, and the group's end moves the epoch, which forgets everything. A reader that
    began before the move cannot put old values into the new epoch.
    """

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self.vault = vault
        self._clock = clock
        self._epoch = 0
        self._pages = _Pages(0, {})
        self._touched = False

    def now(self) -> float:
        return self._clock.now()

    # --- around a group, on the writer's thread ----------------------------------------------------

    def begin(self) -> None:
        """A group begins. One that failed after touching a portal is forgotten here as well."""
        self._move()

    def committed(self) -> None:
        self._move()

    def _move(self) -> None:
        if self._touched:
            self._epoch += 1
            self._touched = False

    def touch(self) -> None:
        self._touched = True

    # --- remembered --------------------------------------------------------------------------------

    def pages(self) -> _Pages:
        """What is remembered now; an empty page after a move. Fill only the page you were given."""
        pages = self._pages
        if pages.epoch != self._epoch:
            pages = self._pages = _Pages(self._epoch, {})
        return pages

    def current(self, db: sqlite3.Connection, member_id: str) -> Portal | None:
        """The portal as this transaction sees it."""
        if self._touched:
            return self.read(db, member_id)
        pages = self.pages()
        known = pages.portals.get(member_id)
        if known is None:
            known = self.read(db, member_id)
            if known is not None:
                pages.portals[member_id] = known
        return known

    def read(self, db: sqlite3.Connection, member_id: str) -> Portal | None:
        row = db.execute(_P["one"], (member_id,)).fetchone()
        return portal_from(self.vault, row) if row else None

    def read_all(self, db: sqlite3.Connection) -> Sequence[Portal]:
        return [portal_from(self.vault, row) for row in db.execute(_P["all"])]

    def read_tokens(self, db: sqlite3.Connection) -> dict[bytes, tuple[str, float | None]]:
        return {hash_: (portal, expires_at) for hash_, portal, expires_at in db.execute(_P["webhook_index"])}

    # --- written -----------------------------------------------------------------------------------

    def save(self, db: sqlite3.Connection, portal: Portal) -> None:
        """Settings of a newer version that we do not know stay in the row."""
        self.touch()
        member_id = portal.member_id
        before = db.execute(_P["settings"], (member_id,)).fetchone()
        unknown = {k: v for k, v in decode(before[0]).items() if k not in _SETTINGS} if before else {}
        db.execute(
            _P["save"],
            (
                member_id,
                portal.domain,
                portal.client_endpoint,
                portal.auth_server,
                _seal(self.vault, portal.application_token, member_id, "application_token"),
                encode(portal.scope),
                portal.status,
                portal.state.value,
                portal.state_reason,
                portal.state_since,
                portal.language,
                portal.license_family,
                portal.app_code,
                portal.version,
                portal.rest_app_id,
                portal.installed_by,
                _seal(self.vault, portal.unitalk_key, member_id, "unitalk_key"),
                encode({**unknown, **pack_settings(portal.settings)}),
                portal.created_at,
                portal.updated_at,
            ),
        )

    def erase(self, db: sqlite3.Connection, member_id: str) -> None:
        """Nothing of the portal stays but the fact that it was here."""
        self.touch()
        for subject, names in _ERASE.items():
            queries = load(subject)
            for name in names:
                db.execute(queries[name], (member_id,))
        now = self._clock.now()
        gone = Portal(
            member_id=member_id,
            domain="",
            client_endpoint="",
            auth_server="",
            state=PortalState.UNINSTALLED,
            state_reason="erased",
            state_since=now,
            created_at=now,
            updated_at=now,
        )
        db.execute("DELETE FROM portals WHERE member_id = ?", (member_id,))
        self.save(db, gone)

    def add_webhook_token(
        self, db: sqlite3.Connection, token: WebhookToken, overlap_until: float | None
    ) -> None:
        self.touch()
        until = self._clock.now() if overlap_until is None else overlap_until
        db.execute(_P["end_webhook_tokens"], {"portal": token.portal, "at": until})
        db.execute(
            _P["add_webhook_token"],
            (
                token.portal,
                self.vault.hashes(token.token)[0],
                self.vault.seal(token.token, token.portal, "webhook_token"),
                token.created_at,
                token.expires_at,
                token.last_used_at,
                token.uses,
            ),
        )


_ERASE: Final = {
    "receipts": ("erase",),
    "calls": ("erase",),
    "repairs": ("erase",),
    "intents": ("erase",),
    "record_memory": ("erase",),
    "jobs": ("erase", "erase_attempts", "erase_wakes"),
    "portals": ("delete_pairs", "erase_webhook_tokens", "erase_snapshots", "erase_level"),
    "requests": ("erase",),
    "agents": ("erase",),
    "campaigns": (
        "erase",
        "erase_batches",
        "erase_phones",
        "erase_tries",
        "erase_wishes",
        "erase_do_not_call",
    ),
    "reconcile": (
        "erase_rows",
        "erase_compared",
        "erase_differences",
        "erase_outages",
        "erase_filed",
    ),
}


# --- token pairs -----------------------------------------------------------------------------------


def pairs(db: sqlite3.Connection, vault: Vault, member_id: str) -> Sequence[TokenPair]:
    return [_pair_from(vault, row) for row in db.execute(_P["pairs"], (member_id,)).fetchall()]


def keep_pair(db: sqlite3.Connection, vault: Vault, pair: TokenPair, keep: int) -> None:
    access, refresh = _sealed_pair(vault, pair)
    db.execute(
        _P["keep_pair"],
        (
            pair.portal,
            pair.user_id,
            access,
            refresh,
            pair.expires_at,
            pair.is_admin,
            pair.refreshed_at,
            pair.generation,
            pair.dead,
        ),
    )
    db.execute(_P["thin_pairs"], {"portal": pair.portal, "keep": keep})


def swap_pair(db: sqlite3.Connection, vault: Vault, old: TokenPair, new: TokenPair) -> bool:
    """`new` becomes the pair of `old`'s user if nobody was faster; its generation grows in any case."""
    access, refresh = _sealed_pair(vault, new)
    values = (access, refresh, new.expires_at, new.is_admin, new.refreshed_at, new.generation)
    return db.execute(_P["swap_pair"], (*values, old.portal, old.user_id, old.generation)).rowcount == 1


def kill_pair(db: sqlite3.Connection, pair: TokenPair) -> None:
    db.execute(_P["kill_pair"], (pair.portal, pair.user_id, pair.generation))


def delete_pairs(db: sqlite3.Connection, member_id: str) -> None:
    db.execute(_P["delete_pairs"], (member_id,))


def _sealed_pair(vault: Vault, pair: TokenPair) -> tuple[bytes, bytes]:
    return (
        vault.seal(pair.access, pair.portal, f"access:{pair.user_id}"),
        vault.seal(pair.refresh, pair.portal, f"refresh:{pair.user_id}"),
    )


def _pair_from(vault: Vault, row: Row) -> TokenPair:
    portal, user_id, access, refresh, expires_at, is_admin, refreshed_at, generation, dead = row
    return TokenPair(
        portal=portal,
        user_id=user_id,
        access=vault.open(access, portal, f"access:{user_id}"),
        refresh=vault.open(refresh, portal, f"refresh:{user_id}"),
        expires_at=expires_at,
        is_admin=bool(is_admin),
        refreshed_at=refreshed_at,
        generation=generation,
        dead=bool(dead),
    )
