"""SQLite: how the queries find their rows, and that they stay fast beside millions of finished jobs."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from storage import graph, migrate
from storage.queries import load

SUBJECTS = (
    "receipts",
    "calls",
    "jobs",
    "portals",
    "repairs",
    "requests",
    "sealed",
    "intents",
    "agents",
    "campaigns",
    "reconcile",
)
SMALL = {
    ("portals", "all"),
    ("portals", "webhook_index"),
    ("portals", "prune_webhook_tokens"),
    ("sealed", "portals"),
    ("sealed", "pairs"),
    ("sealed", "webhook_tokens"),
}
"""Tables of some hundred rows, read whole on purpose."""
NOT_A_TABLE = (
    "SCAN json_each ",
    "SCAN hop",
    "SCAN doomed",
    "SCAN first",
    "SCAN CONSTANT ROW",
    "SCAN need VIRTUAL TABLE",
    "SCAN one VIRTUAL",
)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)) as db:
        migrate.migrate(db, migrate.load(), 0.0)
        yield db


def plan(db: sqlite3.Connection, sql: str) -> list[str]:
    names = set(re.findall(r":(\w+)", sql))
    values = dict.fromkeys(names, 1) if names else [1] * sql.count("?")
    return [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sql, values)]


ALL = [(subject, name) for subject in SUBJECTS for name in load(subject)]


@pytest.mark.parametrize(("subject", "name"), ALL, ids=lambda value: value)
def test_no_query_reads_a_whole_table(db: sqlite3.Connection, subject: str, name: str) -> None:
    steps = plan(db, load(subject)[name])
    if (subject, name) in SMALL:
        return
    scans = [step for step in steps if step.startswith("SCAN") and not step.startswith(NOT_A_TABLE)]
    if name == "next_wake":  # the first entry of an index
        assert scans == ["SCAN wakes USING COVERING INDEX wakes_at"]
        return
    assert scans == []


@pytest.mark.parametrize("name", ["ready", "next_priority", "due_portals", "next_due", "rescue", "unblock"])
def test_the_workers_questions_use_only_indexes_of_open_jobs(db: sqlite3.Connection, name: str) -> None:
    used = set(re.findall(r"INDEX (jobs_\w+)", "\n".join(plan(db, load("jobs")[name]))))
    partial = {"jobs_ready", "jobs_due", "jobs_blocked", "jobs_flying", "jobs_leased", "jobs_mutex"}
    assert used <= partial | ({"jobs_lane"} if name == "unblock" else set())
    assert used


def fill(db: sqlite3.Connection, jobs: int, state: str, lane: str = "c") -> None:
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :jobs) "
        "INSERT INTO jobs (portal, lane, key, kind, data, priority, exclusive, state, due_at, created_at, "
        "updated_at, needs, mutex, correlation_id) "
        "SELECT 'p', :lane || i, 'k', 'finish', '{}', i % 4, 1, :state, i, i, i, '[]', 'm' || (i % 500), '' "
        "FROM n",
        {"jobs": jobs, "state": state, "lane": lane},
    )


def fastest_claim(db: sqlite3.Connection) -> float:
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        claimed = graph.claim(db, "p", 1e9, 20, 2e9, 99)
        times.append(time.perf_counter() - begun)
        assert len(claimed) == 20
        graph.release(db, claimed)
    return min(times)


def test_claiming_does_not_slow_down_with_finished_or_waiting_jobs(db: sqlite3.Connection) -> None:
    fill(db, 1_000, "waiting", "w")
    few = fastest_claim(db)
    fill(db, 50_000, "done", "d")
    fill(db, 20_000, "waiting", "v")
    assert fastest_claim(db) < 3 * few + 0.001


def test_every_query_has_its_explanation_or_is_plain() -> None:
    for subject in SUBJECTS:
        for name, sql in load(subject).items():
            assert "--" not in sql
            assert not sql.endswith(";"), name
            assert "{" not in sql, name
