"""Campaigns in the house of the fault tests: leads with numbers, a dialer, and ours against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bitrix_app.core.campaign_commands import ReadRecords, SwitchDialer, campaign_lane
from bitrix_app.core.campaigns import Phone, PhoneState
from bitrix_app.core.command import Priority
from bitrix_app.core.dialers import Campaign, switched
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.store import Unit
from bitrix_app.core.transition import Owed
from bitrix_app.core.wishes import Wish
from bitrix_app.sandbox.state import CrmItem
from tests.faults.house import House
from unitalk.sandbox.model import DialOutcome
from unitalk.states import outcome_of

DIALER = "77"
ADD = "ADD_PHONES"
RULES = (
    Rule("talked", ("answered",), on=True, record="LEAD", stage="IN_PROCESS", from_stages=("NEW",)),
    Rule("wrong", ("invalid_number",), on=True, record="LEAD", stage="JUNK", from_stages=("NEW",)),
)
STATES = ("ANSWER", "NOANSWER", "BUSY", "NOT_EXIST", "ANSWERING_MACHINE", "NOANSWER", "NOANSWER", "NOANSWER")


async def ready(up: House, count: int, **settings: object) -> list[CrmItem]:
    """So many leads with numbers, the dispositions on, a dialer of fifty channels."""
    chosen = {"dispositions": RULES, "drive": False, "layout": False, "dialers": (DIALER,), **settings}

    async def work(unit: Unit) -> None:
        portal = await unit.portal(up.member_id)
        assert portal is not None
        fresh: PortalSettings = replace(portal.settings, **chosen)  # type: ignore[arg-type]
        await unit.save_portal(replace(portal, settings=fresh))

    await up.app.store.transact(work)
    dialer = up.pbx.dialers[int(DIALER)]
    dialer.channels, dialer.retry_pause = 50, 30.0
    leads = []
    for n in range(count):
        number = f"38050{1000000 + n}"
        up.pbx.outcomes.plan(DialOutcome(STATES[n % len(STATES)], talk=20.0), number, times=None)
        phone = {"typeId": "PHONE", "valueType": "WORK", "value": f"+{number}"}
        leads.append(up.portal.add_item("LEAD", {"title": f"Lead {n}", "fm": [phone]}))
    return leads


async def wish(up: House, leads: Sequence[CrmItem]) -> None:
    """The leads are put into the campaign."""

    async def work(unit: Unit) -> None:
        now = up.clock.now()
        records = tuple(f"LEAD:{lead.id}" for lead in leads)
        await unit.save_campaign(up.member_id, Campaign(DIALER))
        await unit.save_wish(up.member_id, Wish("w1", DIALER, now, 1, records))
        owed = Owed("records:w1", ReadRecords("w1"), Priority.CRM)
        await unit.owe(up.member_id, campaign_lane(DIALER), (owed,), now)

    await up.app.store.transact(work)
    up.app.worker.nudge(up.member_id)


async def start(up: House) -> None:
    async def work(unit: Unit) -> None:
        campaign = await unit.campaign(up.member_id, DIALER)
        assert campaign is not None
        after = switched(campaign, on=True, user_id=1, now=up.clock.now())
        await unit.save_campaign(up.member_id, after)
        owed = Owed(f"switch:{after.turn}", SwitchDialer(DIALER, on=True, turn=after.turn), Priority.CRM)
        await unit.owe(up.member_id, campaign_lane(DIALER), (owed,), up.clock.now())

    await up.app.store.transact(work)
    up.app.worker.nudge(up.member_id)


async def phones(up: House) -> list[Phone]:
    found: list[Phone] = []
    while True:
        page = await up.app.store.campaign_phones(
            up.member_id, DIALER, after=found[-1].id if found else "", limit=500
        )
        found += page
        if not page:
            return found


async def counts(up: House) -> Counter[str]:
    progress = await up.app.store.campaign_progress(up.member_id, DIALER)
    told: Counter[str] = Counter()
    for (state, _), count in progress.items():
        told[state] += count
    return told


async def until(up: House, states: Sequence[PhoneState], count: int, seconds: float) -> None:
    async def there() -> bool:
        known = await counts(up)
        return sum(known[state] for state in states) >= count

    await up.run_until(there, seconds, f"{count} phones in {states}; there are {await counts(up)}")


def adds(up: House) -> int:
    return sum(1 for line in up.pbx.requests if "ADD_PHONES" in str(line))


async def assert_true(up: House, leads: Sequence[CrmItem]) -> None:
    """Ours against the PBX's own book and the CRM."""
    known = {phone.meta: phone for phone in await phones(up)}
    assert len(known) == len(leads)
    made = Counter(call.meta for call in up.pbx.calls if call.dialer_id == int(DIALER))
    assert set(made) == set(known)
    given = Counter(phone.meta for phone in up.pbx.dialers[int(DIALER)].phones)
    assert set(given.values()) == {1}, "a phone was given twice"
    by_id = {f"LEAD:{lead.id}": lead for lead in leads}
    for meta, phone in known.items():
        tries = await up.app.store.phone_tries(up.member_id, phone.id)
        truth = [call for call in up.pbx.calls if call.meta == meta]
        assert [one.outcome for one in tries] == [outcome_of(c.state, None, c.seconds_talk) for c in truth]
        assert (phone.state, phone.tries) == (PhoneState.FINISHED, len(truth))
        stage = {Outcome.ANSWERED: "IN_PROCESS", Outcome.INVALID_NUMBER: "JUNK"}
        assert phone.outcome is not None
        assert by_id[phone.record].fields["stageId"] == stage.get(phone.outcome, "NEW")


async def killed_at(up: House, name: str, *, after: bool) -> None:
    """The process dies with the next request of that name, before it leaves or with its answer in hand."""

    def at(said: str) -> bool:
        if said == name:
            number = up.http.trips[-1].number
            if after:
                up.http.crash_after = number
            else:
                up.http.crash_before = number
            up.http.refuse = None
        return False

    up.http.refuse = at
    await up.run_until(up.http.crashed.is_set, 600.0, f"the request {name}")
    await up.crash()
    await up.start()
