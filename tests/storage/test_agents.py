"""Contract: agents' statuses, who is available, who is in trouble; one open job each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitrix_app.core.agents import AgentStatus, Page, Want, Words, chosen, settled
from bitrix_app.core.commands import Priority, SetStatus
from bitrix_app.core.jobs import JobError, JobState
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from tests.storage.making import OTHER, PORTAL, Bench, attempt, portal

pytestmark = pytest.mark.anyio
ERROR = JobError("UNITALK_REFUSED", "validation", "Номер не знайдено", "See it.", "manager")


def agent(extension: str = "2001", of: str = PORTAL, **known: Any) -> AgentStatus:
    return AgentStatus(of, extension, int(extension) - 1990, **known)


async def keep(bench: Bench, *agents: AgentStatus) -> None:
    async def work(unit: Unit) -> None:
        for one in agents:
            await unit.save_agent_status(one)

    await bench.do(work)


async def synchronised(bench: Bench, **changes: Any) -> None:
    settings = PortalSettings(**({"status_sync": True} | changes))
    await bench.do(lambda unit: unit.save_portal(portal(settings=settings, unitalk_key="a-key-of-tests")))


async def test_a_status_is_kept_as_it_is_and_replaced(bench: Bench) -> None:
    full = settled(
        chosen(agent(error=ERROR, failing_since=1.0, lost=(("PAUS", 9.5),)), Page.PAUSE, "обід"),
        ("page",),
        Words(),
        5.0,
        "user:1",
        "обід",
    )
    await keep(bench, full)
    assert await bench.do(lambda unit: unit.agent_status(PORTAL, "2001")) == full
    await keep(bench, replace(full, desired=Want.WORK))
    assert list(await bench.store.agent_statuses(PORTAL)) == [replace(full, desired=Want.WORK)]
    assert await bench.do(lambda unit: unit.agent_status(PORTAL, "2002")) is None
    await bench.do(lambda unit: unit.drop_agent_status(PORTAL, "2001"))
    assert list(await bench.store.agent_statuses(PORTAL)) == []


async def test_statuses_are_a_portals_own_and_in_order(bench: Bench) -> None:
    await keep(bench, agent("2003"), agent("2001"), agent("2002", OTHER))
    assert [one.extension for one in await bench.store.agent_statuses(PORTAL)] == ["2001", "2003"]
    found = await bench.do(lambda unit: unit.agent_statuses(OTHER))
    assert [one.extension for one in found] == ["2002"]


async def test_only_who_is_acknowledged_at_work_is_available(bench: Bench) -> None:
    await synchronised(bench)
    await keep(
        bench,
        agent("2001", acknowledged="WORK"),
        agent("2002", acknowledged="PAUS"),
        agent("2003"),
        agent("2004", acknowledged="WORK", desired=Want.PAUSE),
        agent("2005", acknowledged="WORK", out=True),
        agent("2006", acknowledged="WORK", doubtful=("PAUS",)),
        agent("2007", OTHER, acknowledged="WORK"),
    )
    assert [one.extension for one in await bench.store.available_agents(PORTAL)] == ["2001"]


@pytest.mark.parametrize("off", [{"status_sync": False}, {"status_work": "READY"}])
async def test_nobody_is_available_where_statuses_are_not_told_or_told_otherwise(
    bench: Bench, off: dict[str, Any]
) -> None:
    await keep(bench, agent(acknowledged="WORK"))
    assert list(await bench.store.available_agents(PORTAL)) == [], "the portal is not known"
    await synchronised(bench, **off)
    assert list(await bench.store.available_agents(PORTAL)) == []


async def test_agents_in_trouble_are_listed_with_code_message_hint_and_who(bench: Bench) -> None:
    sick: dict[str, Any] = {
        "error": ERROR,
        "failing_since": 3.0,
        "failed_at": 8.0,
        "tries": 2,
        "next_at": 18.0,
    }
    await keep(bench, agent("2001"), agent("2002", **sick), agent("2003", out=True, **sick))
    first, second = await bench.store.agent_troubles(PORTAL)
    assert (first.id, first.state, second.state) == ("agent:2002", "retrying", "attention")
    assert (first.error, first.attempts, first.next_attempt_at) == (ERROR, 2, 18.0)
    assert (first.created_at, first.updated_at) == (3.0, 8.0)


STATUS = Owed("status", SetStatus("2001"), Priority.FINISH)


async def owe(bench: Bench, owed: Owed = STATUS) -> int:
    added: int = await bench.do(lambda unit: unit.owe(PORTAL, "agent:2001", (owed,), bench.now))
    return added


async def test_an_agent_has_one_open_job_and_the_next_begins_when_it_is_over(bench: Bench) -> None:
    assert await owe(bench) == 1
    assert await owe(bench) == 0
    (job,) = await bench.claim()
    assert await owe(bench) == 0, "in flight"

    async def over(unit: Unit) -> None:
        await unit.complete(job, attempt(bench.now))
        await unit.owe(PORTAL, "agent:2001", (replace(STATUS, not_before=bench.now + 3.0),), bench.now)

    await bench.do(over)
    (again,) = await bench.store.lane(PORTAL, "agent:2001")
    assert (again.state, again.due_at, again.attempts) == (JobState.WAITING, bench.now + 3.0, 0)


async def test_a_waiting_job_can_be_hastened(bench: Bench) -> None:
    await owe(bench, replace(STATUS, not_before=bench.now + 60.0))
    assert await bench.claim() == []
    assert await bench.do(lambda unit: unit.hasten_agents(OTHER, ["2001"], bench.now)) == 0
    assert await bench.do(lambda unit: unit.hasten_agents(PORTAL, [], bench.now)) == 0
    assert await bench.do(lambda unit: unit.hasten_agents(PORTAL, ["2001", "2002"], bench.now)) == 1
    assert [job.kind for job in await bench.claim()] == ["set_status"]
    assert await bench.do(lambda unit: unit.hasten_agents(PORTAL, ["2001"], bench.now)) == 0, "in flight"


async def test_a_status_in_flight_at_a_crash_is_said_again_at_once(bench: Bench) -> None:
    await owe(bench)
    await bench.claim()
    assert await bench.store.rescue(float("inf")) == 1
    assert [job.doubt for job in await bench.claim()] == [True]


async def test_nothing_of_an_erased_portal_stays(bench: Bench) -> None:
    await keep(bench, agent(), agent("2002", OTHER))
    await bench.do(lambda unit: unit.erase_portal(PORTAL))
    assert list(await bench.store.agent_statuses(PORTAL)) == []
    assert len(await bench.store.agent_statuses(OTHER)) == 1
