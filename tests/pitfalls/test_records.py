"""Pitfalls 29–36: CRM records, Drive and users.

Not ours yet: 30 (a PHONE without a row id is added, not changed) and the half of 32 that speaks of
`comment.update`: we write neither phones nor comments; `test_pitfall_30…` fails when that changes.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from bitrix_app.bitrix import bindings, telephony, users
from bitrix_app.bitrix.documents import document_bytes, layout_blocks
from bitrix_app.bitrix.drive import Drive, DriveFile
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core import errors
from bitrix_app.core.call import Recording
from bitrix_app.core.commands import Finish, LayoutBlocks, Register
from bitrix_app.core.events import Finished, Registered
from bitrix_app.core.lifecycle import Phase
from bitrix_app.sandbox.state import Activity
from tests.bitrix.fakes import call
from tests.pitfalls.rig import AGENT, KNOWN, PitfallRig, live

pytestmark = pytest.mark.anyio
OURS = Path(__file__).parents[2]


def our_words() -> str:
    """All that our product can say; the emulators are not the product."""
    files = [file for file in (OURS / "bitrix_app").rglob("*.py") if "sandbox" not in file.parts]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


async def written(rig: PitfallRig) -> tuple[Registered, Finished, Activity]:
    """A call that stands on contact 701."""
    event = await rig.deliver(Register(AGENT), live())
    assert isinstance(event, Registered)
    about = live(phase=Phase.ENDED, bitrix_call_id=event.bitrix_call_id)
    finished = await rig.deliver(Finish(AGENT, 83, "200"), about)
    assert isinstance(finished, Finished)
    return event, finished, rig.sandbox.state.activities[finished.activity_id or 0]


@pytest.mark.parametrize("notation", ["+380440000001", "0440000001", "044 000 00 01"])
async def test_pitfall_29_a_client_is_found_whatever_the_notation_in_the_crm(
    rig: PitfallRig, notation: str
) -> None:
    rig.sandbox.state.items[3][701].fm[0]["value"] = notation
    assert telephony.read_search(await rig.say(telephony.search(KNOWN))) == ("CONTACT", 701)
    exact = await rig.say(RestCall("crm.contact.list", {"filter": {"PHONE": KNOWN}}, reads=True))
    assert len(exact) == (1 if notation == KNOWN else 0)  # why we do not filter
    assert "crm.contact.list" not in our_words()
    assert "crm.lead.list" not in our_words()


def test_pitfall_30_we_write_no_phone_into_a_record() -> None:
    assert not any(word in our_words() for word in ("crm.lead.update", "crm.contact.update", '"PHONE"'))


async def test_pitfall_31_our_own_writes_do_not_come_back_as_events(rig: PitfallRig) -> None:
    assert not any(name.startswith("ONCRM") for name in bindings.EVENTS)
    want = bindings.wanted(events_url="http://127.0.0.1:8000/e", app_url="http://127.0.0.1:8000/a", lines={})
    await rig.run(bindings.ensure(rig.client, rig.portal, want))
    await written(rig)
    await rig.run(rig.sandbox.events.idle())
    assert {one.event for one in rig.sandbox.deliveries} == {"ONVOXIMPLANTCALLINIT"}


async def test_pitfall_32_each_saying_of_our_blocks_is_the_whole_of_them(rig: PitfallRig) -> None:
    event, finished, activity = await written(rig)
    about = live(
        phase=Phase.ENDED,
        bitrix_call_id=event.bitrix_call_id,
        activity_id=finished.activity_id,
        crm_type="CONTACT",
        crm_id=701,
    )
    await rig.deliver(LayoutBlocks(), about)
    first = dict(activity.blocks or {})
    missing = live(**{**_fields(about), "recording": Recording.MISSING})
    await rig.deliver(LayoutBlocks(), missing)
    assert set(activity.blocks or {}) - set(first) == {"recording"}
    await rig.deliver(LayoutBlocks(), about)
    assert activity.blocks == first  # taken back: the later set replaced the whole
    assert "comment.update" not in our_words()


def _fields(about: object) -> dict[str, object]:
    return {f.name: getattr(about, f.name) for f in fields(about) if f.name != "portal"}  # type: ignore[arg-type]


def test_pitfall_33_our_button_opens_a_page_and_locks_nothing() -> None:
    blocks = layout_blocks(call(activity_id=1, crm_type="LEAD", crm_id=1), "UTC").params["layout"]["blocks"]
    assert blocks["open"]["properties"]["action"]["type"] == "openRestApp"
    assert "restEvent" not in repr(blocks)
    values = blocks["open"]["properties"]["action"]["actionParams"].values()
    assert all(isinstance(value, str) for value in values)  # the portal casts all to text


async def test_pitfall_34_files_go_where_people_find_them(rig: PitfallRig) -> None:
    await rig.run(Drive(rig.client).folder(rig.portal, "2026-09"))
    tree = rig.sandbox.drive_tree()
    assert tree["Company Drive"]["Unitalk"] == {"2026-09": {}}
    assert "disk.storage.getforapp" not in rig.methods()


async def test_pitfall_35_no_address_of_a_file_is_kept(rig: PitfallRig) -> None:
    folder = await rig.run(Drive(rig.client).folder(rig.portal, "2026-09"))
    filed = await rig.run(Drive(rig.client).put_document(rig.portal, folder, "a.json", b"{}"))
    assert {field.name for field in fields(DriveFile)} == {"id", "name", "size", "folder_id"}
    assert "auth=" not in repr(filed)
    about = call(bitrix_call_id="x", link="https://api.unitalk.cloud:8443/tracking/rec/1/2")
    assert b"http" not in document_bytes(about, rig.portal, "Europe/Kyiv")
    for file in (OURS / "bitrix_app" / "bitrix").glob("*.py"):
        assert "DOWNLOAD_URL" not in file.read_text(encoding="utf-8")


async def test_pitfall_36_a_scope_that_hides_people_wipes_nobody(rig: PitfallRig) -> None:
    await rig.run(rig.directory.refresh(rig.portal))
    before = list(await rig.directory.agents(rig.portal.member_id))
    for pair in rig.sandbox.auth._by_access.values():
        pair.scope = "crm,telephony"
    with pytest.raises(errors.Forbidden):
        await rig.run(rig.directory.refresh(rig.portal))
    assert await rig.directory.agents(rig.portal.member_id) == before


async def test_pitfall_36_the_narrowest_scope_still_tells_extensions(rig: PitfallRig) -> None:
    for pair in rig.sandbox.auth._by_access.values():
        pair.scope = "user_brief"
    await rig.run(rig.directory.refresh(rig.portal))
    agents = await rig.directory.agents(rig.portal.member_id)
    assert {agent.extension for agent in agents} >= {"2001", "2002"}
    assert all(agent.email is None for agent in agents)


async def test_pitfall_36_a_hidden_field_is_not_no_extension(
    rig: PitfallRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.run(rig.directory.refresh(rig.portal))
    real = users.agent_of

    def without(item: object) -> object:
        row = dict(item) if isinstance(item, dict) else {}
        row.pop("UF_PHONE_INNER", None)
        return real(row)

    monkeypatch.setattr("bitrix_app.directory.agent_of", without)
    await rig.run(rig.directory.refresh(rig.portal))
    choice = await rig.run(rig.directory.user_for(rig.portal, AGENT, None))
    assert choice is not None
    assert (choice.user_id, choice.matched) == (11, True)
