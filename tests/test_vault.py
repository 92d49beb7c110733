"""Secrets at rest: bound to portal and field, rotated without a gap."""

import pytest

from bitrix_app.vault import SecretVault, WeakKey

FIRST = "a first key that is long enough: 0123456789"
SECOND = "and a second one; also long enough: 9876543210"


@pytest.mark.parametrize("clear", ["token", "", "ключ 🔑", "x" * 10_000, "\ud800"])
def test_a_secret_comes_back(clear: str) -> None:
    vault = SecretVault(FIRST)
    assert vault.open(vault.seal(clear, "portal", "access"), "portal", "access") == clear


def test_sealing_hides_the_secret_and_never_looks_the_same() -> None:
    vault = SecretVault(FIRST)
    sealed = [vault.seal("canary", "portal", "access") for _ in range(50)]
    assert len(set(sealed)) == 50
    assert len({s[5:17] for s in sealed}) == 50, "nonces differ"
    assert not any(b"canary" in s for s in sealed)


@pytest.mark.parametrize(
    ("portal", "field"),
    [("other", "access"), ("portal", "refresh"), ("portal\0access", ""), ("", "portal\0access")],
)
def test_a_sealed_value_that_was_moved_does_not_open(portal: str, field: str) -> None:
    vault = SecretVault(FIRST)
    sealed = vault.seal("canary", "portal", "access")
    with pytest.raises(ValueError, match="moved"):
        vault.open(sealed, portal, field)


def test_every_changed_byte_is_noticed() -> None:
    vault = SecretVault(FIRST)
    sealed = vault.seal("canary", "portal", "access")
    for place in range(len(sealed)):
        changed = bytes(b ^ (i == place) for i, b in enumerate(sealed))
        with pytest.raises(ValueError, match=r"opens|sealed"):
            vault.open(changed, "portal", "access")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"plain text", b"\x01" * 17])
def test_what_is_not_sealed_does_not_open(sealed: bytes) -> None:
    with pytest.raises(ValueError, match="not a sealed value"):
        SecretVault(FIRST).open(sealed, "portal", "access")


def test_after_a_rotation_the_new_key_writes_and_both_read() -> None:
    old, rotated, new = SecretVault(FIRST), SecretVault(f"{SECOND}, {FIRST}"), SecretVault(SECOND)
    before = old.seal("canary", "p", "f")
    assert rotated.open(before, "p", "f") == "canary"
    after = rotated.seal("canary", "p", "f")
    assert new.open(after, "p", "f") == "canary"
    assert [rotated.is_current(s) for s in (before, after)] == [False, True]
    with pytest.raises(ValueError, match="APP_SECRET_KEYS"):
        new.open(before, "p", "f")


def test_hashes_are_keyed_the_writing_keys_first() -> None:
    old, rotated = SecretVault(FIRST), SecretVault(f"{SECOND},{FIRST}")
    (before,) = old.hashes("token")
    assert len(before) == 32
    assert rotated.hashes("token") == (*SecretVault(SECOND).hashes("token"), before)
    assert old.hashes("other") != (before,)


@pytest.mark.parametrize("keys", ["", " , ", "short", f"{FIRST},short", "x" * 64, "abcabcabc" * 8])
def test_a_missing_or_weak_key_is_refused_with_the_way_to_make_one(keys: str) -> None:
    with pytest.raises(WeakKey, match="token_urlsafe"):
        SecretVault(keys)


def test_no_key_shows_in_the_vaults_words() -> None:
    vault = SecretVault(FIRST)
    assert FIRST[:8] not in repr(vault)
    with pytest.raises(WeakKey) as caught:
        SecretVault("guess-me")
    assert "guess-me" not in str(caught.value)
