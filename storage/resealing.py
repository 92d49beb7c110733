"""A change of `APP_SECRET_KEYS`: what an earlier key sealed is sealed anew with the first one, at the start.

Otherwise the earlier key could never be removed safely: a webhook address is found by a keyed hash, so
without its key the PBX would be told 404, and calls would be lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from bitrix_app.core.store import Vault
from storage.queries import load

_P: Final = load("portals")
_S: Final = load("sealed")


def reseal(db: sqlite3.Connection, vault: Vault, now: float) -> int:
    """The number of rows that were sealed anew; 0 when the first key had sealed all.

    Raises `ValueError` when no key of the list opens one of them; nothing was changed then.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_P["prune_webhook_tokens"], (now,))  # over: of no use, and perhaps without its key
        updates = list(_stale(db, vault, now))
        for query, values in updates:
            db.execute(_S[query], values)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return len(updates)


def prove(db: sqlite3.Connection, vault: Vault, now: float) -> None:
    """Reads only. Raises `ValueError` when `reseal` would."""
    for _ in _stale(db, vault, now):
        pass


def _stale(db: sqlite3.Connection, vault: Vault, now: float) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(query, its values) of every row that another key than the first one sealed."""

    def anew(sealed: bytes | None, portal: str, field: str) -> bytes | None:
        return sealed if sealed is None else vault.seal(vault.open(sealed, portal, field), portal, field)

    def old(*sealed: bytes | None) -> bool:
        return any(one is not None and not vault.is_current(one) for one in sealed)

    for member, token, key in db.execute(_S["portals"]).fetchall():
        if old(token, key):
            yield (
                "reseal_portal",
                (anew(token, member, "application_token"), anew(key, member, "unitalk_key"), member),
            )
    for portal, user, access, refresh in db.execute(_S["pairs"]).fetchall():
        if old(access, refresh):
            fresh = (anew(access, portal, f"access:{user}"), anew(refresh, portal, f"refresh:{user}"))
            yield "reseal_pair", (*fresh, portal, user)
    for portal, hash_, sealed in db.execute(_S["webhook_tokens"], (now,)).fetchall():
        if old(sealed):
            clear = vault.open(sealed, portal, "webhook_token")
            fresh_hash, fresh_token = vault.hashes(clear)[0], vault.seal(clear, portal, "webhook_token")
            yield "reseal_webhook_token", (fresh_hash, fresh_token, portal, hash_)
