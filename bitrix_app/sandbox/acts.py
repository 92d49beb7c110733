"""What people do in the portal, for tests and its page: call, ask for a callback, clock in, open widgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bitrix_app.sandbox import timeman
from bitrix_app.sandbox.delivery import EventQueue
from bitrix_app.sandbox.lifecycle import Frame, Lifecycle
from bitrix_app.sandbox.options import Options
from bitrix_app.sandbox.people import CALL_START, CALLBACK_START, CALLBACK_TEXT, People
from bitrix_app.sandbox.widgets import record_options
from bitrix_app.sandbox.world import World


class Acts:
    """The acts of people; `SandboxPortal` inherits them."""

    world: World
    events: EventQueue
    people: People
    life: Lifecycle

    @property
    def options(self) -> Options:
        """Switches: default outgoing line, second press, …; change them at any moment."""
        return self.world.options

    def press_call(
        self,
        user_id: int,
        number: str,
        crm: tuple[str, int] | None = None,
        line: str | None = None,
        *,
        mobile: bool = False,
        late: float = 0.0,
        copies: int = 0,
        lost: bool = False,
        token: bool = True,
    ) -> str:
        """The Call button: a pending call with its card, ONVOXIMPLANTCALLINIT and ONEXTERNALCALLSTART.

        Returns CALL_ID, or "" when the portal calls by other means (our line is not the default, or the
        app does not listen). The event may come `late` by seconds (its `ts` is the press's), `copies`
        times more, be `lost`, or have no user's `token`.
        """
        with self._spoilt(CALL_START, late=late, copies=copies, lost=lost, token=token):
            return self.people.press_call(
                user_id, number, line=line or "", entity=crm or ("", 0), mobile=mobile
            )

    def request_callback(
        self,
        number: str,
        text: str = CALLBACK_TEXT,
        line: str | None = None,
        *,
        user_id: int | None = None,
        late: float = 0.0,
        copies: int = 0,
        lost: bool = False,
    ) -> tuple[str, int]:
        """The callback form: ONEXTERNALCALLBACKSTART, by an anonymous visitor or in a user's name.

        Returns the CRM entity found or made for the number, ("", 0) for none.
        """
        with self._spoilt(CALLBACK_START, late=late, copies=copies, lost=lost):
            return self.people.request_callback(number, text=text, line=line or "", user_id=user_id)

    @contextmanager
    def _spoilt(
        self, event: str, *, late: float, copies: int, lost: bool, token: bool = True
    ) -> Iterator[None]:
        """The event of one act goes wrong; hooks that it did not use up do not outlive it."""
        if late:
            self.events.delay(event, late)
        if copies:
            self.events.duplicate(event, copies)
        if lost:
            self.events.lose(event)
        if not token:
            self.events.without_token(event)
        try:
            yield
        finally:
            if late or copies or lost or not token:
                self.events.calm(event)

    def clock_in(self, user_id: int) -> None:
        """Begin the day, or go on after a pause; ValueError when it runs already."""
        timeman.clock_in(self.world, user_id)

    def clock_pause(self, user_id: int) -> None:
        """A break; ValueError when the day does not run."""
        timeman.clock_pause(self.world, user_id)

    def clock_out(self, user_id: int) -> None:
        """The end of the day; ValueError when there is none."""
        timeman.clock_out(self.world, user_id)

    def clock_expire(self, user_id: int) -> None:
        """The user went home without clocking out: EXPIRED."""
        timeman.expire(self.world, user_id)

    def open_widget(
        self, user_id: int, code: str, record_id: int, handler: str | None = None
    ) -> Frame | None:
        """Our entry in a record's list menu, toolbar or tab, pressed: PLACEMENT_OPTIONS as in the samples.

        None when nothing is bound there; ValueError for a code that belongs to no record.
        """
        return self.life.open_frame(user_id, code, record_options(code, record_id), handler)
