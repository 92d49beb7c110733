"""Campaigns on SQLite: the verbs inside a transaction, and reading for pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from bitrix_app.core.campaign_store import Progress
from bitrix_app.core.campaigns import Batch, Phone, PhoneState, Try, unpack_batch
from bitrix_app.core.dialers import Campaign, unpack_campaign
from bitrix_app.core.outcome import Outcome
from bitrix_app.core.packing import pack
from bitrix_app.core.wishes import Forbidden, Wish, unpack_wish
from storage.queries import load
from storage.rows import Row, clean, decode, encode

T = TypeVar("T")

_Q: Final = load("campaigns")


class CampaignVerbs:
    """See `core.campaign_store.CampaignUnit`."""

    _db: sqlite3.Connection

    async def campaign(self, portal: str, dialer: str) -> Campaign | None:
        row = self._db.execute(_Q["campaign"], (portal, clean(dialer))).fetchone()
        return unpack_campaign(decode(row[0])) if row else None

    async def save_campaign(self, portal: str, campaign: Campaign) -> None:
        self._db.execute(_Q["save_campaign"], (portal, clean(campaign.dialer), encode(pack(campaign))))

    async def save_phones(self, portal: str, phones: Sequence[Phone]) -> None:
        self._db.executemany(_Q["save_phone"], [(portal, *_phone_row(phone)) for phone in phones])

    async def phone(self, portal: str, phone_id: str) -> Phone | None:
        row = self._db.execute(_Q["phone"], (portal, clean(phone_id))).fetchone()
        return _phone_from(row) if row else None

    async def phones_by_number(self, portal: str, dialer: str, number: str) -> Sequence[Phone]:
        return _phones(self._db.execute(_Q["by_number"], (portal, clean(dialer), clean(number))))

    async def open_numbers(self, portal: str, dialer: str, numbers: Sequence[str]) -> frozenset[str]:
        found = self._db.execute(_Q["open_numbers"], (encode(list(numbers)), portal, clean(dialer)))
        return frozenset(number for (number,) in found)

    async def fill_batch(self, portal: str, dialer: str, batch: str, limit: int) -> int:
        values = {"portal": portal, "dialer": clean(dialer), "batch": batch, "most": limit}
        return self._db.execute(_Q["fill_batch"], values).rowcount

    async def unbatched(self, portal: str, dialer: str) -> int:
        return int(self._db.execute(_Q["unbatched"], (portal, clean(dialer))).fetchone()[0])

    async def batch(self, portal: str, batch_id: str) -> Batch | None:
        row = self._db.execute(_Q["batch"], (portal, clean(batch_id))).fetchone()
        return unpack_batch(decode(row[0])) if row else None

    async def save_batch(self, portal: str, batch: Batch) -> None:
        times = (batch.created_at, batch.accepted_at)
        values = (portal, batch.id, clean(batch.dialer), batch.state.value, *times, encode(pack(batch)))
        self._db.execute(_Q["save_batch"], values)

    async def batch_phones(self, portal: str, batch_id: str) -> Sequence[Phone]:
        return _phones(self._db.execute(_Q["batch_phones"], (portal, clean(batch_id))))

    async def sent_before(self, portal: str, dialer: str, at: float, limit: int) -> Sequence[Phone]:
        values = {"portal": portal, "dialer": clean(dialer), "at": at, "most": limit}
        return _phones(self._db.execute(_Q["sent_before"], values))

    async def save_try(self, portal: str, one: Try, seen_at: float) -> None:
        values = (portal, one.call_id, clean(one.dialer), one.phone, one.outcome.value, one.ended_at, seen_at)
        self._db.execute(_Q["save_try"], values)

    async def tries_of(self, portal: str, phone_id: str) -> Sequence[Try]:
        return _tries(self._db.execute(_Q["tries_of"], (portal, clean(phone_id))))

    async def tries_since(self, portal: str, since: float) -> int:
        return int(self._db.execute(_Q["tries_since"], (portal, since)).fetchone()[0])

    async def wish(self, portal: str, wish_id: str) -> Wish | None:
        row = self._db.execute(_Q["wish"], (portal, clean(wish_id))).fetchone()
        return unpack_wish(decode(row[0])) if row else None

    async def save_wish(self, portal: str, wish: Wish) -> None:
        values = (portal, wish.id, clean(wish.dialer), wish.state.value, wish.created_at, encode(pack(wish)))
        self._db.execute(_Q["save_wish"], values)

    async def open_wishes(self, portal: str, dialer: str) -> int:
        return int(self._db.execute(_Q["open_wishes"], (portal, clean(dialer))).fetchone()[0])

    async def forbid(self, portal: str, entry: Forbidden) -> None:
        values = (portal, clean(entry.number), clean(entry.reason), entry.by_user, entry.added_at)
        self._db.execute(_Q["forbid"], values)

    async def allow(self, portal: str, number: str) -> bool:
        return self._db.execute(_Q["allow"], (portal, clean(number))).rowcount == 1

    async def forbidden(self, portal: str, numbers: Sequence[str]) -> frozenset[str]:
        found = self._db.execute(_Q["forbidden"], (encode(list(numbers)), portal))
        return frozenset(number for (number,) in found)


class CampaignPages:
    """See `core.campaign_store.CampaignReader`."""

    async def pages(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Ask with the connection that serves people."""
        raise NotImplementedError

    async def campaigns(self, portal: str) -> Sequence[Campaign]:
        found = await self._rows("campaigns", portal)
        return [unpack_campaign(decode(doc)) for (doc,) in found]

    async def campaign_progress(self, portal: str, dialer: str) -> Progress:
        found = await self._rows("progress", portal, clean(dialer))
        return {(state, outcome): count for state, outcome, count in found}

    async def campaign_tries(self, portal: str, dialer: str) -> Mapping[str, int]:
        return dict(await self._rows("tries_by_outcome", portal, clean(dialer)))

    async def campaign_phones(
        self,
        portal: str,
        dialer: str,
        *,
        state: PhoneState | None = None,
        after: str = "",
        limit: int = 50,
    ) -> Sequence[Phone]:
        place = (portal, clean(dialer))
        if state is None:
            return _phones(await self._rows("phones", *place, clean(after), limit))
        return _phones(await self._rows("phones_in", *place, state.value, clean(after), limit))

    async def phone_tries(self, portal: str, phone_id: str) -> Sequence[Try]:
        return _tries(await self._rows("tries_of", portal, clean(phone_id)))

    async def campaign_batches(self, portal: str, dialer: str, *, limit: int = 50) -> Sequence[Batch]:
        found = await self._rows("batches", portal, clean(dialer), limit)
        return [unpack_batch(decode(doc)) for (doc,) in found]

    async def batches_in_attention(self, portal: str, *, limit: int = 50) -> Sequence[Batch]:
        found = await self._rows("batches_in_attention", portal, limit)
        return [unpack_batch(decode(doc)) for (doc,) in found]

    async def campaign_wishes(self, portal: str, dialer: str, *, limit: int = 20) -> Sequence[Wish]:
        found = await self._rows("wishes", portal, clean(dialer), limit)
        return [unpack_wish(decode(doc)) for (doc,) in found]

    async def campaign_wish(self, portal: str, wish_id: str) -> Wish | None:
        found = await self._rows("wish", portal, clean(wish_id))
        return unpack_wish(decode(found[0][0])) if found else None

    async def do_not_call(self, portal: str, *, after: str = "", limit: int = 50) -> Sequence[Forbidden]:
        return [Forbidden(*row) for row in await self._rows("do_not_call", portal, clean(after), limit)]

    async def _rows(self, name: str, *values: object) -> list[Row]:
        return await self.pages(lambda db: db.execute(_Q[name], values).fetchall())


def _phone_row(phone: Phone) -> Row:
    return (
        phone.id,
        clean(phone.dialer),
        clean(phone.number),
        clean(phone.record),
        phone.state.value,
        phone.reason,
        phone.batch,
        phone.tries,
        phone.outcome.value if phone.outcome else None,
        phone.over,
        phone.added_at,
        phone.added_by,
        phone.changed_at,
    )


def _phone_from(row: Row) -> Phone:
    id_, dialer, number, record, state, reason, batch, tries, outcome, over, added_at, added_by, changed = row
    return Phone(
        id_,
        dialer,
        number,
        record,
        PhoneState(state),
        reason,
        batch,
        tries,
        Outcome(outcome) if outcome else None,
        bool(over),
        added_at,
        added_by,
        changed,
    )


def _phones(found: Iterable[Row]) -> list[Phone]:
    return [_phone_from(row) for row in found]


def _tries(found: Iterable[Row]) -> list[Try]:
    return [Try(call, dialer, phone, Outcome(outcome), at) for call, dialer, phone, outcome, at in found]
