"""Reads the numbers of CRM records that people put into a campaign, and makes phones of them.

Page by page, each with its own commit: a crash goes on where the last page ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from bitrix_app import campaign_book
from bitrix_app.bitrix import record_phones
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.wire import BATCH_LIMIT, RestCall
from bitrix_app.core.call import Call
from bitrix_app.core.campaign_commands import ReadRecords
from bitrix_app.core.campaigns import Phone, PhoneState, Reason, refused
from bitrix_app.core.command import Priority
from bitrix_app.core.errors import Trouble, Unreadable
from bitrix_app.core.jobs import Job, Moot
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock
from bitrix_app.core.record_memory import reference
from bitrix_app.core.store import Store, Unit
from bitrix_app.core.wishes import Wish, WishState
from bitrix_app.words import mark

TOGETHER: Final = 500
"""Records of a list that are read at once: ten pages, some seconds of the portal's work."""
FILTER_MOST: Final = 20_000
"""Records that one filter may bring."""

Item = Mapping[str, Any]
Found = list[tuple[str, Item | None]]
"""`LEAD:1205` → the item, `None` when the portal does not show it."""


class Wishing:
    """See the module; a room of the outbox."""

    kinds = frozenset({ReadRecords.kind})

    def __init__(self, store: Store, clock: Clock, client: BitrixClient) -> None:
        self._store = store
        self._clock = clock
        self._client = client

    async def deliver(self, portal: Portal, job: Job, call: Call | None) -> object:  # noqa: ARG002
        """See `bitrix_app.outbox.Room`. Raises a `Trouble` branch; what was read before it is kept."""
        command = job.command
        if not isinstance(command, ReadRecords):
            raise Unreadable(f"nobody delivers {job.kind}", code="NO_DELIVERY")
        wish_id = command.wish
        wish = await self._store.transact(lambda unit: unit.wish(portal.member_id, wish_id))
        if wish is None or wish.state is WishState.DONE:
            raise Moot("the records were read")
        priority = Priority(job.priority)
        more = True
        while more:
            found, onward = await self._page(portal, wish, priority)
            phones = await self._phones(portal, wish.dialer, found, priority)
            wish = await self._keep(portal, wish, onward, phones)
            more = wish.state is WishState.PENDING
        return None

    async def _page(self, portal: Portal, wish: Wish, priority: Priority) -> tuple[Found, Wish]:
        """The next records, and the wish as it is after them."""
        if wish.records:
            part = wish.records[wish.done : wish.done + TOGETHER]
            names = [reference(record) for record in part]
            seen = await self._items(portal, names, priority)
            done = wish.done + len(part)
            state = WishState.DONE if done >= len(wish.records) else WishState.PENDING
            found: Found = [(record, seen.get(name)) for record, name in zip(part, names, strict=True)]
            return found, replace(wish, done=done, state=state)
        answer = await self._client.call(
            portal, record_phones.staged(wish.type, wish.stage, wish.after), priority
        )
        page = record_phones.items(answer.result)
        done = wish.done + len(page)
        after = max((*page, wish.after))
        over = len(page) < record_phones.PAGE or after == wish.after
        message = ""
        if not over and done >= FILTER_MOST:
            over, message = True, mark(f"Only the first {FILTER_MOST} records were taken.")
        state = WishState.DONE if over else WishState.PENDING
        onward = replace(wish, done=done, after=after, state=state, message=message)
        return [(f"{wish.type}:{number}", item) for number, item in page.items()], onward

    async def _items(
        self, portal: Portal, names: Sequence[tuple[str, int]], priority: Priority
    ) -> dict[tuple[str, int], Item]:
        requests: dict[str, RestCall] = {}
        kinds: dict[str, str] = {}
        for kind in dict.fromkeys(kind for kind, _ in names):
            calls = record_phones.listed(kind, record_phones.ids_of(names, kind))
            requests |= calls
            kinds |= dict.fromkeys(calls, kind)
        seen: dict[tuple[str, int], Item] = {}
        keys = list(requests)
        for start in range(0, len(keys), BATCH_LIMIT):
            part = {key: requests[key] for key in keys[start : start + BATCH_LIMIT]}
            for key, answer in (await self._client.batch(portal, part, priority)).items():
                if isinstance(answer, Trouble):
                    raise answer
                seen |= {(kinds[key], n): item for n, item in record_phones.items(answer.result).items()}
        return seen

    async def _phones(self, portal: Portal, dialer: str, found: Found, priority: Priority) -> list[Phone]:
        country = portal.settings.country
        asked = {
            record: record_phones.clients(item)
            for record, item in found
            if item is not None and record.startswith("DEAL:")
        }
        behind = list(dict.fromkeys(name for names in asked.values() for name in names))
        people = await self._items(portal, behind, priority) if behind else {}
        phones: list[Phone] = []
        for record, item in found:
            if item is None:
                phones.append(refused(Phone("", dialer, "", record), Reason.NOT_FOUND))
                continue
            numbers = record_phones.phones(item)
            for name in asked.get(record, ()):
                numbers += record_phones.phones(people.get(name, {}))
            phones.append(campaign_book.entry(numbers, country, dialer, record))
        return phones

    async def _keep(self, portal: Portal, before: Wish, onward: Wish, phones: Sequence[Phone]) -> Wish:
        now = self._clock.now()
        member = portal.member_id

        async def work(unit: Unit) -> Wish:
            known = await unit.wish(member, before.id)
            if known is None or (known.done, known.after) != (before.done, before.after):
                raise Moot("somebody else reads these records")
            taken = await campaign_book.enlist(unit, member, before.dialer, phones, before.by_user, now)
            out = [phone.reason for phone in taken if phone.state is PhoneState.REFUSED]
            kept = replace(
                onward,
                taken=before.taken + len(taken) - len(out),
                refused=before.refused + len(out),
                reasons=dict(Counter(before.reasons) + Counter(out)),
            )
            await unit.save_wish(member, kept)
            if kept.state is WishState.DONE:
                await campaign_book.owe_gathering(unit, member, before.dialer, now)
            return kept

        return await self._store.transact(work)
