"""Whose screen shows a call, over real sockets: who rings, who is responsible for the client, who talks."""

from __future__ import annotations

import pytest

from tests.journeys.test_calls import assert_once
from tests.journeys.test_people import KNOWN, Office
from tests.journeys.world import CLIENT, World

pytestmark = pytest.mark.anyio


def seeing(world: World) -> set[int]:
    return {user for _, user in world.stage.portal.open_cards()}


async def test_a_known_client_rings_and_the_responsible_person_sees_it_too(world: World) -> None:
    """Leo's responsible person is user 12; the phones of 11 and 13 ring, 13 takes it and hands it to 12."""
    world.stage.pbx.incoming(
        KNOWN,
        ring=("2001", "2003"),
        answered_by="2003",
        talk=4,
        ring_seconds=2.0,
        transfers=[("2002", 4.0)],
    )
    await world.until(lambda: seeing(world) == {11, 12, 13}, "cards where it rings and at the responsible")
    await world.until(lambda: seeing(world) == {13}, "the talker's card alone")
    await world.until(lambda: seeing(world) == {12}, "the card of the one it was handed to")
    await world.until(lambda: len(world.stage.portal.calls) == 1, "the call finished in the portal")
    await world.settled()
    await world.no_card_is_open()
    assert world.stage.portal.counts["telephony.externalcall.searchcrmentities"] == 1
    assert world.stage.portal.counts["telephony.externalcall.register"] == 1


async def test_a_stranger_rings_and_nobody_is_asked_about(world: World) -> None:
    world.stage.pbx.incoming(CLIENT, ring=("2001",), answered_by="2001", talk=2, ring_seconds=1.0)
    await world.until(lambda: seeing(world) == {11}, "the card where it rings")
    await world.until(lambda: len(world.stage.portal.calls) == 1, "the call finished in the portal")
    await world.settled()
    assert_once(world, await world.only_call(), recordings=1)
    assert world.stage.portal.counts["telephony.externalcall.searchcrmentities"] == 0


async def test_the_administrator_can_switch_it_off(world: World) -> None:
    office = await Office(world).open()
    status, settings = await office.ask("PUT", "/settings", {"card_to_responsible": False})
    assert (status, settings["card_to_responsible"]) == (200, False)
    world.stage.pbx.incoming(KNOWN, ring=("2001",), answered_by="2001", talk=2, ring_seconds=1.0)
    await world.until(lambda: len(world.stage.portal.calls) == 1, "the call finished in the portal")
    await world.settled()
    assert world.stage.portal.counts["telephony.externalcall.show"] == 0
    assert world.stage.portal.counts["telephony.externalcall.searchcrmentities"] == 0
