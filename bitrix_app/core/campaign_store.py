"""What campaigns ask of the store: verbs inside a transaction, and reading for pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bitrix_app.core.campaigns import Batch, Phone, PhoneState, Try
from bitrix_app.core.dialers import Campaign
from bitrix_app.core.wishes import Forbidden, Wish

Progress = Mapping[tuple[str, str], int]
"""(state, latest outcome or empty) → phones."""


class CampaignUnit(Protocol):
    """Verbs inside one transaction. The portal leads every key."""

    async def campaign(self, portal: str, dialer: str) -> Campaign | None: ...

    async def save_campaign(self, portal: str, campaign: Campaign) -> None: ...

    async def save_phones(self, portal: str, phones: Sequence[Phone]) -> None:
        """Add or replace, by their ids."""
        ...

    async def phone(self, portal: str, phone_id: str) -> Phone | None: ...

    async def phones_by_number(self, portal: str, dialer: str, number: str) -> Sequence[Phone]:
        """Entries of the campaign with this number that were not refused, the newest first, at most 20."""
        ...

    async def open_numbers(self, portal: str, dialer: str, numbers: Sequence[str]) -> frozenset[str]:
        """Those of the numbers that an open entry of the campaign has."""
        ...

    async def fill_batch(self, portal: str, dialer: str, batch: str, limit: int) -> int:
        """Put the oldest phones that wait for a batch into this one; how many."""
        ...

    async def unbatched(self, portal: str, dialer: str) -> int:
        """Phones that wait for a batch."""
        ...

    async def batch(self, portal: str, batch_id: str) -> Batch | None: ...

    async def save_batch(self, portal: str, batch: Batch) -> None: ...

    async def batch_phones(self, portal: str, batch_id: str) -> Sequence[Phone]: ...

    async def sent_before(self, portal: str, dialer: str, at: float, limit: int) -> Sequence[Phone]:
        """Phones in state `sent` whose batch had arrived by then."""
        ...

    async def save_try(self, portal: str, one: Try, seen_at: float) -> None:
        """One row for each call; a later saying of the same call replaces it."""
        ...

    async def tries_of(self, portal: str, phone_id: str) -> Sequence[Try]: ...

    async def tries_since(self, portal: str, since: float) -> int:
        """Calls of dialers whose end was heard of after `since`."""
        ...

    async def wish(self, portal: str, wish_id: str) -> Wish | None: ...

    async def save_wish(self, portal: str, wish: Wish) -> None: ...

    async def open_wishes(self, portal: str, dialer: str) -> int: ...

    async def forbid(self, portal: str, entry: Forbidden) -> None: ...

    async def allow(self, portal: str, number: str) -> bool:
        """Take a number off the do-not-call list; whether it was there."""
        ...

    async def forbidden(self, portal: str, numbers: Sequence[str]) -> frozenset[str]: ...


class CampaignReader(Protocol):
    """Reading, for pages and tests."""

    async def campaigns(self, portal: str) -> Sequence[Campaign]: ...

    async def campaign_progress(self, portal: str, dialer: str) -> Progress: ...

    async def campaign_tries(self, portal: str, dialer: str) -> Mapping[str, int]:
        """Outcome → calls of the campaign's phones."""
        ...

    async def campaign_phones(
        self,
        portal: str,
        dialer: str,
        *,
        state: PhoneState | None = None,
        after: str = "",
        limit: int = 50,
    ) -> Sequence[Phone]:
        """In the order in which they were added, after this phone's id."""
        ...

    async def phone_tries(self, portal: str, phone_id: str) -> Sequence[Try]: ...

    async def campaign_batches(self, portal: str, dialer: str, *, limit: int = 50) -> Sequence[Batch]:
        """The newest first."""
        ...

    async def batches_in_attention(self, portal: str, *, limit: int = 50) -> Sequence[Batch]:
        """Batches in doubt or refused, with code, message and hint: a manager has to settle them."""
        ...

    async def campaign_wishes(self, portal: str, dialer: str, *, limit: int = 20) -> Sequence[Wish]:
        """The newest first."""
        ...

    async def campaign_wish(self, portal: str, wish_id: str) -> Wish | None: ...

    async def do_not_call(self, portal: str, *, after: str = "", limit: int = 50) -> Sequence[Forbidden]:
        """By number, after this one."""
        ...
