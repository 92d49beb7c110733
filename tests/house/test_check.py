"""`check`: each fault is found, said once and has a mend; what is right is no fault."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

import pytest

from bitrix_app.check import Check, Line, Report
from bitrix_app.clock import VirtualClock
from bitrix_app.core.errors import Forbidden, NotSent, Refused, Trouble
from bitrix_app.core.portal import Portal, PortalState, Snapshot
from bitrix_app.core.ports import Http, HttpRequest, HttpResponse
from bitrix_app.settings import alone
from bitrix_app.vault import SecretVault
from storage.looking import Looked, look_at
from storage.refusals import StoreRefused
from tests.house.making import DOMAIN, KEY, MEMBER, NOW, OTHER, Bench, portal
from unitalk.client import UnitalkClient

pytestmark = pytest.mark.anyio

GIB = 1 << 30


class World:
    """Vendors that answer, unless their host is in `down`; `ahead` is how far our clock is ahead."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.ahead = 0.0
        self.unknown = ""
        self.asked: list[str] = []
        self.pbx: Any = {"users": [{"line": "2001"}]}
        self.clock = VirtualClock(NOW)

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request.url)
        if any(host in request.url for host in self.down):
            raise NotSent("No connection could be made")
        return HttpResponse(404, {"date": formatdate(NOW - self.ahead, usegmt=True)}, b"")

    async def request(self, _key: str, _path: str, *, data: Any, **_more: Any) -> Any:
        if self.unknown and data.get("action") == self.unknown:
            raise Refused("Unknown action")
        if isinstance(self.pbx, Trouble):
            raise self.pbx
        return self.pbx

    async def run(self, looked: Looked | str | None = None, wanted: str = "") -> Report:
        settings = alone(bitrix_client_id="x")
        check = Check(settings, cast(Http, self), self.clock, cast(UnitalkClient, self))
        return await check.run(database() if looked is None else looked, wanted)


def database(
    *portals: Portal, snapshots: Mapping[tuple[str, str], Snapshot] | None = None, **more: Any
) -> Looked:
    known = portals or (portal(unitalk_key="pbx-key"),)
    fields: dict[str, Any] = {"exists": True, "schema": 1, "wanted": 1, "free_bytes": GIB, "server": 77}
    return Looked(Path("unitalk.db"), portals=known, snapshots=snapshots or {}, **{**fields, **more})


def faults(report: Report) -> list[Line]:
    assert report.ok == all(line.ok for line in report.lines)
    return [line for line in report.lines if not line.ok]


async def test_when_all_is_well_nothing_is_a_fault() -> None:
    world = World()
    report = await world.run()
    assert faults(report) == []
    assert report.structures[DOMAIN]["users/list"] == {"users": {"list_of": 1, "each": {"line": "digits(4)"}}}
    assert "https://api.unitalk.cloud:8443/" in world.asked, "recordings come from that port"


@pytest.mark.parametrize(
    ("host", "about", "port"),
    [
        ("oauth.bitrix.info", "Bitrix24 authorization", "443"),
        ("api.unitalk.cloud/api", "Unitalk", "443"),
        ("api.unitalk.cloud:8443", "Unitalk recordings", "8443"),
        (DOMAIN, f"portal {DOMAIN}", "443"),
    ],
)
async def test_whoever_cannot_be_reached_is_named_with_the_port_to_open(
    host: str, about: str, port: str
) -> None:
    world = World()
    world.down = {host}
    (fault,) = faults(await world.run())
    assert fault.about == about
    assert f"port {port} " in fault.mend


@pytest.mark.parametrize(
    ("ahead", "words"), [(300.0, "300 s ahead of"), (-7200.0, "7200 s behind"), (50.0, "")]
)
async def test_a_wrong_clock_of_this_machine_is_a_fault(ahead: float, words: str) -> None:
    world = World()
    world.ahead = ahead
    found = faults(await world.run())
    assert len(found) == bool(words)
    assert all(words in fault.said and "NTP" in fault.mend for fault in found)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"schema": 1, "wanted": 2}, "unitalk-bitrix24 migrate"),
        ({"free_bytes": 5 << 20}, "Free some space"),
    ],
)
async def test_a_database_that_needs_something_says_what(more: dict[str, Any], words: str) -> None:
    (fault,) = faults(await World().run(database(**more)))
    assert words in fault.mend


async def test_a_database_that_cannot_be_read_is_one_fault_and_the_rest_is_asked_all_the_same() -> None:
    world = World()
    (fault,) = faults(await world.run("x.db is damaged; keep a copy of it and restore a backup"))
    assert str(fault) == "FAULT database: x.db is damaged → Keep a copy of it and restore a backup."
    assert world.asked


@pytest.mark.parametrize("state", [PortalState.NEEDS_REAUTH, PortalState.SUSPENDED, PortalState.INSTALLING])
async def test_a_portal_that_stands_still_says_who_must_act(state: PortalState) -> None:
    (fault,) = faults(await World().run(database(portal(unitalk_key="k", state=state))))
    assert fault.mend


async def test_a_portal_without_a_key_and_one_whose_key_is_refused_are_faults() -> None:
    (fault,) = faults(await World().run(database(portal())))
    assert "enter it in the settings" in fault.mend
    world = World()
    world.pbx = Forbidden("no", code="AUTHORIZATION_INVALID", hint="Make a key.")
    (fault,) = faults(await world.run())
    assert (fault.mend, "AUTHORIZATION_INVALID" in fault.said) == ("Make a key.", True)


async def test_of_several_portals_one_must_be_named_and_an_unknown_one_is_a_fault() -> None:
    two = database(portal(unitalk_key="k"), portal(unitalk_key="k", member_id=OTHER, domain="b.example"))
    report = await World().run(two)
    assert faults(report) == []
    assert report.structures == {}
    for name in ("b.example", OTHER, "B.Example"):
        assert list((await World().run(two, name)).structures) == ["b.example"]
    (fault,) = faults(await World().run(two, "c.example"))
    assert fault.mend == f"Use one of: {DOMAIN}, b.example."


async def test_a_wrong_zone_of_the_pbx_is_a_fault_and_news_of_it_are_shown() -> None:
    verdict = {"zone": "Europe/Kyiv", "hours_off": 2, "proposed": "UTC", "calls": 5, "checked_at": NOW}
    news = {"finding": "The PBX sends a field that we do not know: x.", "count": 3}
    snapshots = {
        (MEMBER, "timezone_check"): Snapshot("timezone_check", NOW, (verdict,)),
        (MEMBER, "drift"): Snapshot("drift", NOW, (news,)),
    }
    report = await World().run(database(snapshots=snapshots))
    (fault,) = faults(report)
    assert fault.mend == "Set the time zone of the PBX to UTC in the settings."
    assert any("Seen 3 times" in line.said for line in report.lines)


async def test_what_the_pbx_sends_is_shown_beside_what_it_answers_also_without_a_key() -> None:
    item = {"event": "CALL_END in", "seen": 2, "structure": {"call": {"id": "number(7)"}}}
    snapshots = {(MEMBER, "pbx_events"): Snapshot("pbx_events", NOW, (item,))}
    shown = (await World().run(database(snapshots=snapshots))).structures[DOMAIN]
    assert shown["events"] == {"CALL_END in": {"call": {"id": "number(7)"}}}
    assert "users/list" in shown
    bare = await World().run(database(portal(), snapshots=snapshots))
    assert list(bare.structures[DOMAIN]) == ["events"]


async def test_a_method_that_the_pbx_need_not_know_is_no_fault_there() -> None:
    world = World()
    world.pbx = {"dialers": [{"id": 7, "name": "x"}]}
    world.unknown = "GET_CALLS_HISTORY"
    report = await world.run()
    assert faults(report) == []
    assert any("GET_CALLS_HISTORY is not known there: Unknown action" in line.said for line in report.lines)


# --- the look at the database ----------------------------------------------------------------------


async def test_the_database_is_looked_at_beside_the_open_store_and_not_written(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.change(unitalk_key="pbx-key")
    await bench.store.save_snapshot(MEMBER, Snapshot("drift", NOW, ({"key": "x"},)))
    path = tmp_path / "unitalk.db"
    before = path.read_bytes()
    looked = await look_at(path, SecretVault(KEY), bench.clock, ("drift", "nothing"))
    assert [(p.domain, p.unitalk_key) for p in looked.portals] == [(DOMAIN, "pbx-key")]
    assert looked.snapshots[MEMBER, "drift"].items == ({"key": "x"},)
    assert (MEMBER, "nothing") not in looked.snapshots
    assert looked.server is not None
    assert path.read_bytes() == before
    await bench.change(unitalk_key="the store still writes")


async def test_secrets_of_another_key_ring_are_refused_in_words(bench: Bench, tmp_path: Path) -> None:
    await bench.change(unitalk_key="pbx-key")
    with pytest.raises(StoreRefused, match="APP_SECRET_KEYS"):
        await look_at(tmp_path / "unitalk.db", SecretVault(KEY[::-1]), bench.clock)


async def test_a_file_that_is_no_database_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"my diary, page one and so on")
    with pytest.raises(StoreRefused, match="not a SQLite database"):
        await look_at(path, SecretVault(KEY), VirtualClock(NOW))
    assert path.read_bytes().startswith(b"my diary")


async def test_a_lock_file_of_a_process_that_died_is_nobody(bench: Bench, tmp_path: Path) -> None:
    lock = tmp_path / "unitalk.db.lock"
    for left in ("", "999999999\n", "nonsense"):
        lock.write_text(left)
        assert (await look_at(tmp_path / "unitalk.db", SecretVault(KEY), bench.clock)).server is None


async def test_a_database_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "data" / "unitalk.db"
    looked = await look_at(path, SecretVault(KEY), VirtualClock(NOW))
    assert not looked.exists
    assert not path.parent.exists()
