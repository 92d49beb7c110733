"""What a portal remembers: users, calls, CRM records, files, handlers. Data only, no rules."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitrix_app.sandbox.cards import CardStep

FIRST_IDS: dict[str, int] = {
    # ids of different kinds start far apart, so that a mix-up in the product shows
    "lead": 1201,
    "deal": 301,
    "contact": 701,
    "company": 601,
    "multifield": 101,
    "activity": 7901,
    "object": 9001,
    "blob": 32701,
    "storage": 1366,
    "handler": 540,
    "comment": 901,
    "log_message": 4401,
    "notification": 12301,
    "message": 34201,
    "line": 7,
    "statistic": 1,
    "transcript": 1,
    "version": 7201,
    "offline": 1,
}


@dataclass
class User:
    """An employee. `inner` is UF_PHONE_INNER; `time_status` what timeman.status answers (§12)."""

    id: int
    name: str
    last_name: str
    email: str = ""
    inner: str = ""
    active: bool = True
    admin: bool = False
    position: str = ""
    work_phone: str = ""
    mobile: str = ""
    departments: list[int] = field(default_factory=lambda: [1])
    time_status: str = "OPENED"
    time_zone: str = ""
    sees_all_crm: bool = True
    sees_statistics: bool = True
    allowed_in_app: bool = True
    extranet: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.name} {self.last_name}".strip()


@dataclass
class WorkDay:
    """One day of a user's working time. `finished` is the end, or the beginning of the pause."""

    started: float
    finished: float | None = None
    pauses: float = 0.0
    """Seconds of the pauses that are over."""


@dataclass
class Department:
    """A node of the company structure."""

    id: int
    name: str
    parent: int | None = None
    head: int | None = None


@dataclass
class Line:
    """An external line of our app (§6.7)."""

    id: int
    number: str
    name: str
    crm_auto_create: str = "Y"


@dataclass
class CrmItem:
    """A lead, deal, contact or company. `fields` uses the names of crm.item.* (§7.2)."""

    type_id: int
    id: int
    fields: dict[str, Any]
    fm: list[dict[str, Any]] = field(default_factory=list)

    @property
    def assigned_by(self) -> int:
        return int(self.fields.get("assignedById") or 0)

    def phones(self) -> list[str]:
        return [str(row["value"]) for row in self.fm if row["typeId"] == "PHONE"]


@dataclass
class Activity:
    """A record of the timeline with an owner (§7.6). `fields` uses the old upper-case names."""

    id: int
    fields: dict[str, Any]
    bindings: list[tuple[int, int]]
    files: list[int] = field(default_factory=list)
    blocks: dict[str, Any] | None = None
    layout: dict[str, Any] | None = None
    app_id: str | None = None


@dataclass
class TimelineNote:
    """A comment or a log message of the timeline."""

    id: int
    kind: str
    type_id: int
    entity_id: int
    author_id: int
    created: float
    title: str
    text: str


@dataclass
class Call:
    """A call from register to statistics (§6.1, §6.2). `statistic_id` is set by finish."""

    call_id: str
    app_id: str
    user_id: int
    number: str
    raw_number: str
    type: int
    started: float
    registered: float
    line: str
    external_id: str
    internal: bool = False
    entity_type: str = ""
    entity_id: int = 0
    created: list[tuple[str, int]] = field(default_factory=list)
    lead_error: str = ""
    statistic_id: int | None = None
    duration: int = 0
    status_code: str = ""
    failed_reason: str = ""
    cost: float = 0
    cost_currency: str = ""
    vote: int | None = None
    activity_id: int | None = None
    activity_error: str = ""
    record_file_id: int | None = None
    recordings: int = 0
    record_url: str | None = None
    transcript_id: int | None = None
    transcript: list[dict[str, Any]] = field(default_factory=list)
    finished: float | None = None

    @property
    def is_finished(self) -> bool:
        return self.statistic_id is not None


@dataclass
class Storage:
    """A drive: common, of a user, of the app (§8)."""

    id: int
    name: str
    entity_type: str
    entity_id: str
    root_id: int
    owner_id: int | None = None


@dataclass
class DriveObject:
    """A folder or a file. `id` is the object, `blob_id` the contents: they differ (§8)."""

    id: int
    name: str
    storage_id: int
    is_folder: bool
    parent_id: int | None
    created: float
    updated: float
    created_by: int
    updated_by: int
    blob_id: int | None = None
    content: bytes = b""
    version: int = 1
    versions: list[tuple[int, int, bytes, float, int]] = field(default_factory=list)
    rights: list[dict[str, Any]] = field(default_factory=list)
    deleted: bool = False
    deleted_at: float | None = None
    deleted_by: int | None = None


@dataclass
class Notification:
    """A line under the bell (§9.1)."""

    id: int
    user_id: int
    message: str
    tag: str
    sub_tag: str
    author_id: int
    created: float
    attach: Any = None


@dataclass
class Handler:
    """A bound event handler (§11)."""

    id: int
    event: str
    url: str
    auth_type: int
    offline: bool = False
    connector: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class OfflineEvent:
    """The last state of one object in the offline queue (§11.2)."""

    id: int
    event: str
    data: dict[str, Any]
    at: float
    message_id: str
    connector: str
    process_id: str = ""
    error: bool = False


@dataclass
class PlacementRow:
    """A bound widget (§10)."""

    code: str
    handler: str
    title: str
    description: str
    group: str
    lang_all: dict[str, Any]
    options: dict[str, Any]
    user_id: int = 0


class State:
    """The tables of one portal."""

    def __init__(self) -> None:
        self._next: dict[str, int] = defaultdict(lambda: 1, FIRST_IDS)
        self.users: dict[int, User] = {}
        self.departments: dict[int, Department] = {}
        self.lines: dict[str, Line] = {}
        self.calls: dict[str, Call] = {}
        self.pending: dict[str, Call] = {}
        """Those of `calls` that are not finished."""
        self.finished: list[Call] = []
        self.cards: list[tuple[str, int]] = []
        self.card_log: list[CardStep] = []
        self.workdays: dict[int, WorkDay] = {}
        self.items: dict[int, dict[int, CrmItem]] = {1: {}, 2: {}, 3: {}, 4: {}}
        self.statuses: list[dict[str, Any]] = []
        self.categories: list[dict[str, Any]] = []
        self.activities: dict[int, Activity] = {}
        self.notes: list[TimelineNote] = []
        self.storages: dict[int, Storage] = {}
        self.objects: dict[int, DriveObject] = {}
        self.named: dict[tuple[int | None, str], list[int]] = defaultdict(list)
        """Ids by (parent, name in small letters) that objects have or had."""
        self.notifications: list[Notification] = []
        self.messages: list[dict[str, Any]] = []
        self.handlers: list[Handler] = []
        self.offline_events: list[OfflineEvent] = []
        self.placements: list[PlacementRow] = []
        self.app_options: dict[str, str] = {}
        self.user_options: dict[int, dict[str, str]] = {}
        self.pull_events: list[dict[str, Any]] = []

    def next_id(self, kind: str) -> int:
        """A new id of that kind."""
        number = self._next[kind]
        self._next[kind] = number + 1
        return number

    def finished_calls(self) -> list[Call]:
        """Statistics, oldest first."""
        return list(self.finished)
