from pathlib import Path
import json
import pytest
from bitrix_app.core.jobs import JobState
from bitrix_app.core.portal import PortalState
from bitrix_app.sandbox.faults import Fault
from bitrix_app.sandbox.demo import install
from tests.faults.house import *
from tests.faults.house import _name
from tests.faults.table import BAD, LIVE_ONLY, STEPS, arm

pytestmark = pytest.mark.anyio
REG = "telephony.externalcall.register"
FIN = "telephony.externalcall.finish"
DAY = 86400.0


def bad(n):
    return next(b for b in BAD if b.name == n)


@pytest.mark.parametrize("name", ["lost-done", "lost-before", "late-20", "500-json-done"])
@pytest.mark.parametrize("step", [REG, FIN, "telephony.externalcall.attachrecord", "upload"])
async def test_duplicates_in_doubt(tmp_path, name, step):
    async with house(tmp_path) as up:
        struck = arm(up, bad(name), step)
        told = up.past_call()
        bodies = up.pbx.webhooks_for(told)
        await up.end_alone(told)
        for _ in range(3):
            for b in bodies:
                assert await up.post(b) == 200
            await up.run_for(25)
        await up.settle(calls=1)
        assert struck() == 1
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize(
    "name", ["lost-done", "lost-before", "late-20", "500-json-done", "slow-70", "empty-200"]
)
@pytest.mark.parametrize("ways", ["both-past", "first-live"])
async def test_second_call_same_number(tmp_path, name, ways):
    async with house(tmp_path) as up:
        n = up.number()
        arm(up, bad(name), REG)
        if ways == "both-past":
            a = up.past_call(n, ago=60)
            await up.end_alone(a)
            await up.run_for(3)
            b = up.past_call(n, ago=15)
            await up.end_alone(b)
        else:
            a = up.past_call(n, ago=60)
            await up.end_alone(a)
            await up.run_for(3)
            b = up.live_call(n)
            await up.run_for(30)
        await up.settle(calls=2)
        assert len(up.portal.leads) == 4
        await assert_exactly_once(up, [a, b])


@pytest.mark.parametrize("step", [s for s in STEPS if s != "recording"])
async def test_needs_reauth_each_step(tmp_path, step):
    async with house(tmp_path) as up:
        f = up.portal.faults.add(Fault(step, "expired_token"))
        up.portal.revoke()
        told = up.live_call()
        await up.run_for(30)
        await up.run_for(1200)
        p = await up.app.store.portal(up.member_id)
        assert p
        assert f.hits == 1
        assert p.state is PortalState.NEEDS_REAUTH, p.state
        assert await up.open_app() == 200
        await up.settle(calls=1)
        for j in await up.jobs((await up.calls())[0]):
            if j.kind not in ("show", "hide"):
                assert j.attempts <= 1, (j.key, j.attempts)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("name", ["lost-done", "late-20", "lost-before"])
@pytest.mark.parametrize("init", ["heard", "init-lost"])
@pytest.mark.parametrize("ago", [20.0, 25 * 60.0, DAY])
async def test_old_register_doubt(tmp_path, name, init, ago):
    async with house(tmp_path) as up:
        if init == "init-lost":
            up.portal.events.lose("ONVOXIMPLANTCALLINIT", times=1)
        arm(up, bad(name), REG)
        told = up.past_call(ago=ago)
        await up.end_alone(told)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("name", ["lost-done", "late-20", "lost-before"])
@pytest.mark.parametrize("init", ["heard", "init-lost"])
async def test_register_answered_after_31min(tmp_path, name, init):
    async with house(tmp_path) as up:
        if init == "init-lost":
            up.portal.events.lose("ONVOXIMPLANTCALLINIT", times=1)
        arm(up, bad(name), REG)
        told = up.live_call()
        await up.run_for(4)
        start = up.clock.now()
        up.http.refuse = lambda n: n == REG and up.clock.now() < start + 31 * 60
        await up.settle(calls=1, most_seconds=4 * 3600)
        await assert_exactly_once(up, [told])


@pytest.mark.parametrize("slow", [5.0, 20.0, 45.0, 59.0])
async def test_end_while_register_in_flight(tmp_path, slow):
    async with house(tmp_path) as up:
        up.portal.faults.add(Fault(REG, "slow", seconds=slow))
        told = up.live_call()
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


async def test_uninstall_in_doubt_then_reinstall(tmp_path):
    async with house(tmp_path) as up:
        arm(up, bad("lost-done"), FIN)
        told = up.past_call()
        await up.end_alone(told)
        await up.run_for(3)
        up.portal.uninstall(clean=False)
        await up.run_for(5)
        n = len(up.http.trips)
        await up.run_for(3600)
        assert len(up.http.trips) == n
        assert await up.is_settled()
        up.portal.reinstall()
        doing = asyncio.ensure_future(install(up.portal, up.http, up.app))
        await up.run_until(doing.done, 60)
        doing.result()
        t2 = up.past_call()
        await up.end_alone(t2)
        await up.settle()
        assert up.troubles == []
        assert len(up.portal.calls) == 2


async def test_live_over_reinstall(tmp_path):
    async with house(tmp_path) as up:
        told = up.live_call(talk=600.0)
        await up.run_for(20)
        up.portal.uninstall(clean=False)
        await up.run_for(5)
        up.portal.reinstall()
        doing = asyncio.ensure_future(install(up.portal, up.http, up.app))
        await up.run_until(doing.done, 60)
        doing.result()
        await up.run_for(700)
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


async def test_drive_folder_deleted(tmp_path):
    async with house(tmp_path) as up:
        a = up.past_call()
        await up.end_alone(a)
        await up.settle(calls=1)
        from bitrix_app.sandbox import drive

        root = next(o for o in up.portal.state.objects.values() if o.name == "Unitalk")
        drive.remove(up.portal.world, root.id)
        b = up.past_call()
        await up.end_alone(b)
        await up.settle(calls=2)
        print(
            [
                (j.key, str(j.state), j.error)
                for c in await up.calls()
                for j in await up.jobs(c)
                if j.state is JobState.ATTENTION
            ]
        )
        assert all(j.state is not JobState.ATTENTION for c in await up.calls() for j in await up.jobs(c))


async def test_drive_folder_binned(tmp_path):
    async with house(tmp_path) as up:
        a = up.past_call()
        await up.end_alone(a)
        await up.settle(calls=1)
        from bitrix_app.sandbox import drive

        root = next(o for o in up.portal.state.objects.values() if o.name == "Unitalk")
        drive.to_bin(up.portal.world, root, 1)
        b = up.past_call()
        await up.end_alone(b)
        await up.settle(calls=2)
        c = next(c for c in await up.calls() if c.pbx_dbid != (await up.calls())[-1].pbx_dbid)
        print(up.portal.drive_tree(), up.files())
        assert c.document_name in up.files()


@pytest.mark.parametrize("name", ["500-json", "502-html", "429-operating", "503-limit", "lost-before"])
async def test_lookup_fails_wrong_person(tmp_path, name):
    async with house(tmp_path) as up:
        from bitrix_app.sandbox.state import User

        up.portal.add_user(User(16, "New", "Comer", "n@example.com", inner="2006", departments=[4]))
        arm(up, bad(name), "user.get", times=3)
        told = up.past_call(ring=("2006",), answered_by="2006")
        await up.end_alone(told)
        await up.settle(calls=1)
        (row,) = up.portal.calls
        assert row.user_id == 16
        assert up.portal.notifications == []


async def test_layout_tells_recording(tmp_path):
    async with house(tmp_path) as up:
        told = up.past_call()
        await up.end_alone(told)
        await up.settle(calls=1)
        last = up.portal.requests_of("crm.activity.layout.blocks.set")[-1].params
        print(json.dumps(last["layout"]["blocks"].get("recording")))
        assert "expected" not in json.dumps(last["layout"]), last


@pytest.mark.parametrize("step", [REG, FIN])
async def test_crash_and_late(tmp_path, step):
    async with house(tmp_path) as up:
        told = up.past_call(ago=20)
        # request leaves, server is slow: the effect lands 20 s later, we crash 1 s after sending
        up.http.later = [(step, 20.0)]
        await up.end_alone(told)
        await up.run_until(lambda: not up.http.later, 10)
        # crash while the request is still with the server
        await up.crash()
        await up.start()
        await up.settle(calls=1)
        await assert_exactly_once(up, [told])


async def test_portal_gone(tmp_path):
    async with house(tmp_path) as up:
        up.portal.faults.add(Fault.code("APPLICATION_NOT_FOUND", REG))
        told = up.past_call()
        await up.end_alone(told)
        await up.run_for(60)
        p = await up.app.store.portal(up.member_id)
        print(p.state, p.state_reason, await up.open_jobs())
        b = up.past_call()
        st = await up.post(up.pbx.webhooks_for(b)[-1])
        print("post", st)
        await up.run_for(7200)
        p = await up.app.store.portal(up.member_id)
        print(p.state)
        pairs = await up.app.store.transact(lambda u: u.pairs(up.member_id))
        print("pairs", len(pairs))
        assert await up.is_settled()
