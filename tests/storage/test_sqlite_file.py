"""SQLite: the file. One process, no surprise at opening, nothing lost by a kill, no secret in its bytes."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.store import Store, StoreUnavailable, Unit, Vault, WebhookToken
from bitrix_app.vault import SecretVault
from storage import StoreLocked, StoreRefused, line, migrate, open_store
from storage.resealing import _stale
from storage.sqlite import SqliteStore
from tests.storage.making import KEY, OTHER, PORTAL, Bench, owed, pair, portal, receipt

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "tests.storage.process", *map(str, arguments)]


async def filled(database: Path, vault: Vault, clock: VirtualClock) -> None:
    store = await SqliteStore.open(database, vault, clock)
    for n in range(200):
        await store.transact(lambda unit, n=n: unit.receive(receipt(f"d{n}", body=b"x" * 500)))  # type: ignore[misc]
    await store.close()


def content(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, new: bytes) -> None:
    path.write_bytes(new)


def make_folder(path: Path) -> None:
    path.mkdir()


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


# --- addresses ---------------------------------------------------------------------------


async def test_the_folder_is_made(tmp_path: Path, vault: Vault, clock: VirtualClock) -> None:
    path = tmp_path / "new" / "folder" / "u.db"
    store = await open_store(f"sqlite:///{path}", vault, clock)
    await store.close()
    assert path.stat().st_mode & 0o077 == 0, "nobody else may read it"


async def test_a_relative_address_is_relative(
    tmp_path: Path, vault: Vault, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await (await open_store("sqlite:///data/u.db", vault, clock)).close()
    assert (tmp_path / "data" / "u.db").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:secret@h/d", "PostgreSQL is not available yet"),
        ("mysql://h/d", "must be sqlite:///"),
        ("sqlite:///", "must be sqlite:///"),
        ("sqlite://u.db", "must be sqlite:///"),
    ],
)
async def test_other_addresses_are_refused_in_words(
    url: str, words: str, vault: Vault, clock: VirtualClock
) -> None:
    with pytest.raises(StoreRefused, match=words) as caught:
        await open_store(url, vault, clock)
    assert "secret" not in caught.value.reason


async def test_a_place_where_nothing_can_be_written_is_refused_in_words(
    tmp_path: Path, vault: Vault, clock: VirtualClock
) -> None:
    overwrite(tmp_path / "file", b"")
    make_folder(tmp_path / "u.db.lock")
    make_folder(tmp_path / "folder.db")
    for place, words in (
        ("file/u.db", "folder .*file cannot be made"),
        ("u.db", "u.db.lock cannot be written.*check its rights"),
        ("folder.db", "folder.db cannot be opened.*check its rights"),
    ):
        with pytest.raises(StoreRefused, match=words):
            await open_store(f"sqlite:///{tmp_path / place}", vault, clock)


async def test_a_file_that_another_program_holds_is_refused_soon(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    await filled(database, vault, clock)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = exclusive")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreRefused, match="locked by another program"):
            await asyncio.wait_for(SqliteStore.open(database, vault, clock), 5)


# --- one process -------------------------------------------------------------------------


async def test_a_second_process_is_refused_and_told_who_holds_the_file(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    try:
        second = await asyncio.to_thread(
            subprocess.run, command("open", database), capture_output=True, text=True, cwd=ROOT, timeout=20
        )
        assert second.returncode == 3, second.stderr
        assert f"is in use by process {os.getpid()}; stop it, or use PostgreSQL" in second.stdout
        with pytest.raises(StoreLocked):
            await SqliteStore.open(database, vault, clock)
    finally:
        await store.close()
    await (await SqliteStore.open(database, vault, clock)).close()


async def test_a_refused_opening_lets_the_lock_go(database: Path, vault: Vault, clock: VirtualClock) -> None:
    overwrite(database, b"not a database at all" * 100)
    for _ in range(2):
        with pytest.raises(StoreRefused, match="not a SQLite database") as caught:
            await SqliteStore.open(database, vault, clock)
        assert not isinstance(caught.value, StoreLocked)


# --- files that we must not touch --------------------------------------------------------


def corrupt_header(path: Path) -> None:
    path.write_bytes(b"XQLite format 3\x00" + path.read_bytes()[16:])


def corrupt_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(45, 60):  # rows, not the schema's own pages
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)


def corrupt_schema(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:200] = b"\xff" * 100
    path.write_bytes(content)


def read_only(path: Path) -> None:
    path.chmod(0o444)


def newer_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO schema_versions VALUES (?, 'future', 'x', 0)", (len(migrate.load()) + 1,))


def changed_migration(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE schema_versions SET checksum = 'x'")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE somebody_elses (x)")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (corrupt_header, "not a SQLite database; move it away or restore a backup"),
        (corrupt_page, "damaged.*restore a backup"),
        (corrupt_schema, "damaged.*restore a backup"),
        (read_only, "can only be read; give this user the right"),
        (newer_schema, r"schema \d+, this program knows \d+.*install that version"),
        (changed_migration, "migration 1.*differs"),
        (foreign, "belongs to another program; choose another"),
    ],
)
async def test_a_file_that_is_not_ours_to_write_is_refused_and_left_untouched(
    database: Path, vault: Vault, clock: VirtualClock, harm: Callable[[Path], None], words: str
) -> None:
    await filled(database, vault, clock)
    harm(database)
    before = content(database)
    with pytest.raises(StoreRefused, match=words) as caught:
        await SqliteStore.open(database, vault, clock)
    assert database.name in caught.value.reason
    assert content(database) == before


async def test_a_file_on_which_wal_does_not_work_is_refused(
    database: Path, vault: Vault, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "pragma_value", lambda _, name: {"journal_mode": "delete"}.get(name, 2))
    with pytest.raises(StoreRefused, match="did not accept journal_mode=wal"):
        await SqliteStore.open(database, vault, clock)


# --- migrations --------------------------------------------------------------------------


def schema(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def test_the_schema_by_steps_equals_the_schema_from_scratch() -> None:
    migrations = migrate.load()
    with closing(memory()) as scratch, closing(memory()) as stepped:
        assert migrate.migrate(scratch, migrations, 0.0) == len(migrations)
        for n in range(1, len(migrations) + 1):
            migrate.migrate(stepped, migrations[:n], 0.0)
            migrate.migrate(stepped, migrations[:n], 0.0)
        assert schema(stepped) == schema(scratch)


def test_a_migration_that_fails_leaves_the_schema_before_it() -> None:
    migrations = migrate.load()
    next_ = len(migrations) + 1
    bad = migrate.Migration(next_, "bad", "CREATE TABLE more (x) STRICT;\nCREATE TABLE calls (x);\n")
    with closing(memory()) as db:
        migrate.migrate(db, migrations, 0.0)
        before = schema(db)
        with pytest.raises(sqlite3.Error):
            migrate.migrate(db, [*migrations, bad], 0.0)
        assert schema(db) == before
        assert migrate.version(db, migrations) == len(migrations)
        good = migrate.Migration(next_, "good", "-- why\nCREATE TABLE more (x);\n-- the end\n")
        assert migrate.migrate(db, [*migrations, good], 0.0) == next_


def test_a_migration_whose_last_statement_has_no_end_is_refused() -> None:
    with closing(memory()) as db, pytest.raises(ValueError, match="no end"):
        migrate.migrate(db, [migrate.Migration(1, "x", "CREATE TABLE a (x)")], 0.0)


def test_migrations_are_numbered_without_gaps(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("")
    (tmp_path / "0003_c.sql").write_text("")
    with pytest.raises(ValueError, match="should have number 0002"):
        migrate.load(tmp_path)


# --- nothing is lost ---------------------------------------------------------------------


async def test_what_was_stored_is_there_after_a_restart(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    bench = Bench(await SqliteStore.open(database, vault, clock), clock)
    await bench.owe(owed("a"), owed("b", "a"))
    before = await bench.store.lane(PORTAL, "c1")
    await bench.store.close()
    bench = Bench(await SqliteStore.open(database, vault, clock), clock)
    assert await bench.store.lane(PORTAL, "c1") == before
    await bench.store.close()


@pytest.mark.parametrize("after", [3, 300, 1500])
async def test_every_acknowledged_unit_survives_kill_9(
    database: Path, vault: Vault, clock: VirtualClock, after: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("write", database), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    acknowledged = [(await process.stdout.readline()).decode() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    acknowledged += (await process.stdout.read()).decode().splitlines(keepends=True)
    await process.wait()
    told = {text.strip() for text in acknowledged if text.endswith("\n")}
    assert len(told) >= after
    store = await SqliteStore.open(database, vault, clock)
    kept = {r.digest for r in await store.receipts(PORTAL, limit=100_000)}
    assert told <= kept
    for digest in kept:
        assert len(await store.lane(PORTAL, digest)) == 2, "a unit is there whole or not at all"
    assert await store._writer.between_groups(lambda db: db.execute("PRAGMA integrity_check").fetchone()) == (
        "ok",
    )
    await store.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the fault")
async def test_after_a_real_failed_sync_nothing_more_is_acknowledged(
    database: Path, vault: Vault, clock: VirtualClock, tmp_path: Path
) -> None:
    await filled(database, vault, clock)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fdatasync,write"]
    inject = ["-e", "inject=fdatasync:error=EIO:when=20"]
    process = await asyncio.create_subprocess_exec(
        *strace, *inject, *command("one-by-one", database), stdout=subprocess.PIPE, cwd=ROOT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    lines = output.decode().split("\n")
    assert any("writing stopped until a restart" in text for text in lines), lines[-3:]
    told = {text for text in lines if text.startswith("d-")}
    assert 10 < len(told) < 25
    calls = [text for text in trace.read_text().splitlines() if "-wal>" in text and "fdatasync" in text]
    failed = next(n for n, text in enumerate(calls) if "EIO" in text)
    acknowledged_later = re.findall(r"write\(1<.*\"d-", trace.read_text().split("EIO", 1)[1])
    assert not acknowledged_later
    assert len(calls) - failed <= 2, "no commit tries the sync again; closing checkpoints once"
    store = await SqliteStore.open(database, vault, clock)
    assert told <= {r.digest for r in await store.receipts(PORTAL, limit=1000)}
    await store.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace shows the order")
async def test_on_disk_comes_before_told(database: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=fdatasync,pwrite64,write"]
    process = await asyncio.create_subprocess_exec(
        *strace, *command("one-by-one", database, 20), stdout=subprocess.PIPE, cwd=ROOT
    )
    await asyncio.wait_for(process.communicate(), 30)
    story = []
    for text in trace.read_text().splitlines():
        if "-wal>" in text and "pwrite64(" in text:
            story.append("w")
        elif "-wal>" in text and "fdatasync(" in text:
            story.append("s")
        elif re.search(r'write\(1<.*"d-', text):
            story.append("T")
    told = "".join(story).split("T")
    assert len(told) == 21
    for before in told[:20]:
        assert re.fullmatch(r".*w+s", before), told
    for before in told[1:20]:
        assert before.count("s") == 1, "one sync per commit"


# --- copies ------------------------------------------------------------------------------


async def test_a_backup_is_a_whole_copy_and_never_replaces_a_file(
    database: Path, vault: Vault, clock: VirtualClock, tmp_path: Path
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    copy = tmp_path / "copy.db"
    await store.transact(lambda unit: unit.save_portal(portal(unitalk_key="key")))
    await asyncio.gather(
        store.backup(copy),
        *(store.transact(lambda unit, n=n: unit.receive(receipt(f"{n}"))) for n in range(9)),  # type: ignore[misc]
    )
    with pytest.raises(FileExistsError, match="choose another name"):
        await store.backup(copy)
    with pytest.raises(FileNotFoundError):
        await store.backup(tmp_path / "missing" / "copy.db")
    assert await store.transact(lambda unit: unit.receive(receipt("after"))) is not None
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.backup(tmp_path / "late.db")
    restored = await SqliteStore.open(copy, vault, clock)
    assert await restored.portal(PORTAL) == portal(unitalk_key="key")
    await restored.close()
    assert not [path for path in files_of(tmp_path) if path.suffix == ".part"]


# --- secrets -----------------------------------------------------------------------------

CANARY = "CANARY-7f3a91"


async def plant(store: Store) -> None:
    async def work(unit: Unit) -> None:
        await unit.save_portal(portal(application_token=f"{CANARY}-app", unitalk_key=f"{CANARY}-key"))
        await unit.keep_pair(pair(1, access=f"{CANARY}-access", refresh=f"{CANARY}-refresh"), 3)
        await unit.swap_tokens(pair(1), pair(1, access=f"{CANARY}-access2", refresh=f"{CANARY}-refresh2"))

    await store.transact(work)
    await store.add_webhook_token(WebhookToken(PORTAL, f"{CANARY}-path", 0.0), overlap_until=None)
    assert await store.webhook_portal(f"{CANARY}-path", 0.0)


async def test_no_secret_is_in_the_bytes_of_database_wal_or_backup(
    database: Path, vault: Vault, clock: VirtualClock, tmp_path: Path
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    await plant(store)
    await store.backup(tmp_path / "copy.db")
    before = {path.name: content(path) for path in files_of(tmp_path)}
    assert set(before) >= {"unitalk.db", "unitalk.db-wal", "copy.db"}
    await store.close()
    for path, found in {**before, "closed": content(database)}.items():
        assert CANARY.encode() not in found, path
        assert CANARY.encode("utf-16-le") not in found, path


async def test_a_sealed_value_that_was_moved_to_another_portal_does_not_open(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    await plant(store)

    def swap(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO tokens SELECT ?, user_id, access, refresh, expires_at, is_admin, "
                   "refreshed_at, generation, dead FROM tokens", (OTHER,))  # fmt: skip
        db.execute("UPDATE tokens SET access = refresh WHERE portal = ?", (PORTAL,))

    await store._writer.between_groups(swap)
    for of in (PORTAL, OTHER):
        with pytest.raises(ValueError, match="moved"):
            await store.transact(lambda unit, of=of: unit.pairs(of))  # type: ignore[misc]
    await store.close()


NEXT_KEY = "another key that is long enough: 9876543210"


async def test_after_a_start_with_a_new_key_the_earlier_one_is_not_needed(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    await plant(store)
    later = WebhookToken(PORTAL, f"{CANARY}-path2", 0.0)
    await store.add_webhook_token(later, overlap_until=clock.now() + 60)  # the earlier address lives on
    await store.close()
    for keys in (f"{NEXT_KEY},{KEY}", NEXT_KEY):
        store = await SqliteStore.open(database, SecretVault(keys), clock)
        for path in (f"{CANARY}-path", f"{CANARY}-path2"):
            found = await store.webhook_portal(path, clock.now())
            assert found is not None, (keys, path)
            assert (found.unitalk_key, found.application_token) == (f"{CANARY}-key", f"{CANARY}-app")
        (kept,) = await store.transact(lambda unit: unit.pairs(PORTAL))
        assert (kept.access, kept.refresh) == (f"{CANARY}-access2", f"{CANARY}-refresh2")
        assert {one.token for one in await store.webhook_tokens(PORTAL)} == {
            f"{CANARY}-path",
            f"{CANARY}-path2",
        }
        await store.close()


async def test_a_start_with_the_same_key_seals_nothing_anew(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    await plant(store)
    assert await store._writer.between_groups(lambda db: list(_stale(db, vault, clock.now()))) == []
    assert await store._writer.between_groups(
        lambda db: len(list(_stale(db, SecretVault(f"{NEXT_KEY},{KEY}"), clock.now())))
    ) == len(("portal", "pair", "address"))
    await store.close()


async def test_what_is_over_does_not_hold_up_the_removal_of_a_key(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    await store.transact(lambda unit: unit.keep_pair(pair(1, dead=True), 3))
    over = WebhookToken(PORTAL, f"{CANARY}-path", 0.0, expires_at=clock.now() - 1)
    await store.add_webhook_token(over, overlap_until=None)
    await store.close()
    store = await SqliteStore.open(database, SecretVault(NEXT_KEY), clock)
    assert await store.webhook_portal(f"{CANARY}-path", clock.now()) is None
    assert await store.webhook_tokens(PORTAL) == []
    await store.close()


async def test_without_its_key_the_store_does_not_open_and_stays_as_it_was(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    """Open without it, it would tell the PBX 404 for its own address, and the calls were lost."""
    store = await SqliteStore.open(database, vault, clock)
    await plant(store)
    await store.close()
    for _ in range(2):
        with pytest.raises(StoreRefused, match="Put the earlier key back into APP_SECRET_KEYS"):
            await SqliteStore.open(database, SecretVault(NEXT_KEY), clock)
    store = await SqliteStore.open(database, vault, clock)
    assert await store.webhook_portal(f"{CANARY}-path", clock.now()) is not None
    await store.close()


async def test_settings_of_a_newer_version_survive_us(
    database: Path, vault: Vault, clock: VirtualClock
) -> None:
    store = await SqliteStore.open(database, vault, clock)
    await store.transact(lambda unit: unit.save_portal(portal()))
    await store._writer.between_groups(
        lambda db: db.execute("""UPDATE portals SET settings = '{"future": [1], "drive": false}'""").rowcount
    )
    await store.transact(lambda unit: unit.save_portal(portal(status="saved")))
    settings = await store._writer.between_groups(
        lambda db: db.execute("SELECT settings FROM portals").fetchone()[0]
    )
    assert settings == '{"future":[1]}'
    await store.close()


async def test_a_read_that_meets_damage_says_so_in_words(store: SqliteStore) -> None:
    def broken(_: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("malformed")

    with pytest.raises(StoreUnavailable, match="malformed"):
        await store._reading.house(broken)


async def test_readers_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(StoreUnavailable, match="can only be read"):
        await store._reading.house(lambda db: db.execute("DELETE FROM calls").rowcount)
