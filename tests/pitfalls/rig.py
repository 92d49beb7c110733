"""Our outbox, client, Drive and directory before the portal's emulator, in process, on a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bitrix_app.bitrix.drive import Drive
from bitrix_app.core.call import Call
from bitrix_app.core.commands import Command
from bitrix_app.core.errors import AnswerLost
from bitrix_app.core.events import CallEvent
from bitrix_app.core.portal import Snapshot
from bitrix_app.core.ports import Http, HttpRequest, HttpResponse
from bitrix_app.core.store import Store
from bitrix_app.directory import Directory
from bitrix_app.filing import Filing, RecordingSource
from bitrix_app.lines import Lines
from bitrix_app.moving import Moving
from bitrix_app.outbox import Outbox
from bitrix_app.owners import Owners
from bitrix_app.records import Records
from bitrix_app.sandbox.portal import ConnectionDropped
from bitrix_app.upkeep import Upkeep
from tests.bitrix.fakes import MEMBER, NOW, call
from tests.bitrix.test_against_sandbox import Rig
from tests.house.making import job
from unitalk.sandbox.audio import recording

AGENT, OTHER_AGENT = "2001", "2002"
"""Extensions of users 11 and 12 of the seeded portal."""
KNOWN, STRANGER = "+380440000001", "+380670000077"
"""A number of contact 701, and one that nobody has."""
LINK = "https://api.unitalk.cloud:8443/tracking/rec/1.1/2026-09-02"


@dataclass
class Snapshots:
    """The directory's part of a store."""

    kept: dict[str, Snapshot] = field(default_factory=dict)

    async def snapshot(self, _portal: str, kind: str) -> Snapshot | None:
        return self.kept.get(kind)

    async def save_snapshot(self, _portal: str, snapshot: Snapshot) -> None:
        self.kept[snapshot.kind] = snapshot

    async def transact(self, _work: object) -> int:
        """What is only owed is done by nobody here."""
        return 0


class PitfallRig(Rig):
    """`Rig` with everything that delivers a command; a dropped connection is a lost answer."""

    def __init__(self, spool: Path) -> None:
        super().__init__()
        send = self.sockets.send

        async def sent(request: HttpRequest) -> HttpResponse:
            try:
                return await send(request)
            except ConnectionDropped:
                raise AnswerLost("the connection was dropped") from None

        self.sockets.send = sent  # type: ignore[method-assign]
        self.snapshots = Snapshots()
        self.directory = Directory(cast(Store, self.snapshots), self.client, self.clock)
        self.drive = Drive(self.client)
        self.spool = spool
        source = RecordingSource(["*.unitalk.cloud"], False)
        filing = Filing(cast(Http, self.sockets), self.client, self.drive, self.clock, spool, source)
        records = Records(cast(Store, self.snapshots), self.client)
        upkeep = cast(Upkeep, None)
        owners = Owners(self.client, self.directory, self.clock)
        lines, moving = Lines(cast(Store, self.snapshots), self.clock), Moving(self.client)
        self.outbox = Outbox(
            self.client, self.directory, owners, lines, filing, moving, upkeep, self.clock, records
        )

    async def deliver(self, command: Command, about: Call, **more: Any) -> CallEvent | None:
        """What came of a command's delivery; raises what the queue would get."""
        return cast(
            CallEvent | None,
            await self.run(cast(Any, self.outbox.deliver(self.portal, job(command, **more), about))),
        )

    def methods(self) -> list[str]:
        """REST methods in the order in which the portal heard them."""
        return [entry.method for entry in self.sandbox.rest_log]

    def spooled(self) -> str:
        """A fetched recording; its name in the spool."""
        self.spool.mkdir(exist_ok=True)
        (self.spool / "one.audio").write_bytes(recording("mp3", 2.0))
        return "one.audio"


def live(**more: Any) -> Call:
    """A call that rings now."""
    return call(**{"number": KNOWN, "raw_number": KNOWN[1:], "register_owed": True, **more})


__all__ = ["AGENT", "KNOWN", "LINK", "MEMBER", "NOW", "OTHER_AGENT", "STRANGER", "PitfallRig", "live"]
