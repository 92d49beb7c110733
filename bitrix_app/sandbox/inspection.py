"""Looking into the portal: for assertions in tests and for the portal page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bitrix_app.sandbox import drive
from bitrix_app.sandbox.cards import CardStep
from bitrix_app.sandbox.crm_fields import COMPANY, CONTACT, DEAL, LEAD
from bitrix_app.sandbox.delivery import Delivery, EventQueue
from bitrix_app.sandbox.rest import Rest, RestCall
from bitrix_app.sandbox.state import Activity, Call, CrmItem, Notification
from bitrix_app.sandbox.world import World


@dataclass(frozen=True)
class Effects:
    """What one call of the PBX left in the portal. Exactly once means 1, 1, 1 and at most 1."""

    registered: int
    finished: int
    activities: int
    recordings: int
    files: int
    call_ids: tuple[str, ...]


class Inspection:
    """Read-only views; `SandboxPortal` inherits them."""

    world: World
    rest: Rest
    events: EventQueue

    @property
    def calls(self) -> list[Call]:
        """Finished calls, oldest first."""
        return self.world.state.finished_calls()

    @property
    def pending_calls(self) -> list[Call]:
        """Registered and not finished."""
        return [call for call in self.world.state.calls.values() if not call.is_finished]

    @property
    def activities(self) -> list[Activity]:
        return list(self.world.state.activities.values())

    @property
    def leads(self) -> list[CrmItem]:
        return list(self.world.state.items[LEAD].values())

    @property
    def deals(self) -> list[CrmItem]:
        return list(self.world.state.items[DEAL].values())

    @property
    def contacts(self) -> list[CrmItem]:
        return list(self.world.state.items[CONTACT].values())

    @property
    def companies(self) -> list[CrmItem]:
        return list(self.world.state.items[COMPANY].values())

    @property
    def notifications(self) -> list[Notification]:
        return list(self.world.state.notifications)

    def notices_of(self, user_id: int) -> list[str]:
        """Texts of that user's notices, oldest first."""
        return [one.message for one in self.world.state.notifications if one.user_id == user_id]

    @property
    def rest_log(self) -> list[RestCall]:
        """Every request: time, method, masked parameters, status, inner commands."""
        return list(self.rest.log)

    @property
    def counts(self) -> Counter[str]:
        """How often each method ran, inner commands included."""
        return self.rest.counts

    @property
    def deliveries(self) -> list[Delivery]:
        """Every POST of the event queue."""
        return self.events.log

    def open_cards(self) -> list[tuple[str, int]]:
        """(CALL_ID, user id) of each card on a screen."""
        return list(self.world.state.cards)

    def cards_of(self, user_id: int) -> list[str]:
        """CALL_IDs of the cards on that user's screen now."""
        return [call_id for call_id, owner in self.world.state.cards if owner == user_id]

    @property
    def card_log(self) -> list[CardStep]:
        """Every card that came or went, in order."""
        return list(self.world.state.card_log)

    def drive_tree(self) -> dict[str, Any]:
        """Storages: folders as maps, files as sizes."""
        return drive.tree(self.world)

    def requests_of(self, method: str) -> list[RestCall]:
        """Requests of one method, in order (inner batch commands are in `inner`)."""
        return [one for one in self.rest.log if one.method == method.lower()]

    def effects(self, external_call_id: str) -> Effects:
        """What that call left: several registers of one call are several rows here."""
        rows = [call for call in self.world.state.calls.values() if call.external_id == external_call_id]
        return self._effects(rows)

    def effects_of_call(self, call_id: str) -> Effects:
        """The same by CALL_ID: calls that began with a click have no external id."""
        call = self.world.state.calls.get(call_id)
        return self._effects([call] if call else [])

    def _effects(self, rows: Iterable[Call]) -> Effects:
        calls = list(rows)
        origins = {f"VI_{call.call_id}" for call in calls}
        return Effects(
            registered=len(calls),
            finished=sum(call.is_finished for call in calls),
            activities=sum(
                one.fields["ORIGIN_ID"] in origins for one in self.world.state.activities.values()
            ),
            recordings=sum(call.record_file_id is not None for call in calls),
            files=sum(call.recordings for call in calls),
            call_ids=tuple(call.call_id for call in calls),
        )
