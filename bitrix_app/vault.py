"""Secrets at rest: AES-GCM bound to portal and field, keys derived from `APP_SECRET_KEYS`."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SHORTEST: Final = 32
_FORMAT: Final = b"\x01"
_ID: Final = 4
_NONCE: Final = 12
_HEAD: Final = len(_FORMAT) + _ID
_HOW: Final = (
    "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))' "
    "and put it into APP_SECRET_KEYS"
)


class WeakKey(ValueError):
    """A secret key is missing or can be guessed; the text says how to make one."""


@dataclass(frozen=True, slots=True)
class _Key:
    """One entry of the list: each purpose has its own derived key."""

    id: bytes
    cipher: AESGCM
    hashing: bytes


class SecretVault:
    """See `core.store.Vault`. The first key writes and all read: rotate by putting a new one first.

    A sealed value is: format byte, key id (4), nonce (12), ciphertext with its tag.
    """

    def __init__(self, keys: str) -> None:
        """`keys` is the comma list of `APP_SECRET_KEYS`. Raises `WeakKey`."""
        entries = [entry.strip() for entry in keys.split(",") if entry.strip()]
        if not entries:
            raise WeakKey(f"there is no secret key; {_HOW}")
        for place, entry in enumerate(entries, 1):
            if len(entry) < SHORTEST:
                raise WeakKey(f"secret key {place} is shorter than {SHORTEST} characters; {_HOW}")
            if len(set(entry)) < 10:
                raise WeakKey(f"secret key {place} repeats the same few characters; {_HOW}")
        self._keys = tuple(_derived(entry) for entry in entries)

    def __repr__(self) -> str:
        return f"SecretVault({len(self._keys)} keys)"

    def seal(self, clear: str, portal: str, field: str) -> bytes:
        key = self._keys[0]
        nonce = os.urandom(_NONCE)
        sealed = key.cipher.encrypt(nonce, clear.encode("utf-8", "surrogatepass"), _bound_to(portal, field))
        return _FORMAT + key.id + nonce + sealed

    def open(self, sealed: bytes, portal: str, field: str) -> str:
        if sealed[:1] != _FORMAT or len(sealed) <= _HEAD + _NONCE:
            raise ValueError("this is not a sealed value")
        key_id, nonce, content = sealed[1:_HEAD], sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
        for key in self._keys:
            if key.id == key_id:
                try:
                    clear = key.cipher.decrypt(nonce, content, _bound_to(portal, field))
                except InvalidTag:
                    continue
                return clear.decode("utf-8", "surrogatepass")
        raise ValueError(
            f"no key of APP_SECRET_KEYS opens {field} of portal {portal}: "
            "the key was removed, or the value was changed or moved"
        )

    def hashes(self, token: str) -> tuple[bytes, ...]:
        text = token.encode("utf-8", "surrogatepass")
        return tuple(hmac.digest(key.hashing, text, "sha256") for key in self._keys)

    def is_current(self, sealed: bytes) -> bool:
        """Whether the writing key sealed it; others may be sealed anew after a rotation."""
        return sealed[1:_HEAD] == self._keys[0].id


def _derived(entry: str) -> _Key:
    secret = entry.encode()
    return _Key(
        id=sha256(b"unitalk/key-id\0" + _hkdf(secret, b"unitalk/key-id")).digest()[:_ID],
        cipher=AESGCM(_hkdf(secret, b"unitalk/seal")),
        hashing=_hkdf(secret, b"unitalk/webhook-token"),
    )


def _hkdf(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret)


def _bound_to(portal: str, field: str) -> bytes:
    return f"{portal}\0{field}".encode()
