"""A Bitrix24 account that installed the app: who it is, its tokens, its settings, its people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from bitrix_app.core import dispositions as rules_of
from bitrix_app.core.abilities import grants
from bitrix_app.core.agents import SOURCES, Words
from bitrix_app.core.dispositions import Rule
from bitrix_app.core.transition import Rules


class PortalState(StrEnum):
    INSTALLING = "installing"
    """Verified, but `installFinish` has not been heard of yet."""
    ACTIVE = "active"
    NEEDS_REAUTH = "needs_reauth"
    SUSPENDED = "suspended"
    """Plan or trial over, or the portal is closed: work waits."""
    UNINSTALLED = "uninstalled"


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """What an administrator may decide. Stored as JSON; unknown keys survive a downgrade."""

    pbx_timezone: str = "Europe/Kyiv"
    default_user: int | None = None
    """Gets the calls that nobody else gets; `None` means the administrator who installed."""
    line_users: Mapping[str, int] = field(default_factory=dict)
    """External line (digits) → default user of that line."""
    line_names: Mapping[str, str] = field(default_factory=dict)
    crm_create_in: bool = True
    crm_create_out: bool = True
    drive: bool = True
    drive_recordings: bool = True
    drive_managers: tuple[int, ...] = ()
    """Users who are given the right to read our Drive folder when it is made."""
    layout: bool = True
    card_to_responsible: bool = True
    """A known client's incoming call is shown to his responsible person too, not only where it rings."""
    concurrency: int = 2
    """Requests in flight to this portal (reliability.md §2, C5)."""
    country: str = "UA"
    """ISO 3166 code of the numbering plan by which local numbers are read."""
    extension_users: Mapping[str, int] = field(default_factory=dict)
    """PBX extension → user, where Bitrix24's own inner numbers do not say it; this map wins."""
    missed_owner: str = "responsible"
    """Who gets a missed call first, a word of `mapping.MISSED_OWNERS`."""
    transfer_owner: str = "last"
    """Whose a transferred call is: the `last` or the `first` who talked."""
    queue_user: int | None = None
    """Gets a call of a PBX group that nobody in particular took."""
    group_users: Mapping[str, int] = field(default_factory=dict)
    """PBX group by name → its own default user; goes before `queue_user`."""
    line_zones: Mapping[str, str] = field(default_factory=dict)
    """External line (digits) → zone in which its calls' times are shown and filed."""

    hours: Mapping[str, str] = field(default_factory=dict)
    """Working hours as `{"mon": "09:00-18:00", …}` in the zone `pbx_timezone`; empty: always."""
    client_hours: str = "08:00-21:00"
    """When a client may be called by itself, in his own zone; people may call whenever they like."""
    callback_minutes: int = 15
    """Working minutes within which a client who reached nobody should be called."""
    missed_callbacks: bool = True
    """Whether clients who reached nobody are put on the retry list."""
    managers: tuple[int, ...] = ()
    """Users who manage calling beside the administrators: they see and move all entries of the retry
    list, lead the autodialer, see and set everybody's status, and are told of what agents cannot mend."""
    repeat_starts: bool = True
    """Whether a call start that certainly did not ring is tried again by itself."""

    def zone_of(self, line: str | None) -> str:
        """The zone for people of a line. The PBX's own clock is always `pbx_timezone`."""
        return self.line_zones.get(line or "", self.pbx_timezone)

    dispositions: tuple[Rule, ...] = ()
    """What a call's outcome means in the CRM; without rules nothing is written but the call."""

    status_sync: bool = False
    """Whether agents' statuses are told to the PBX. The method is unconfirmed (unitalk.md §4.3)."""
    status_work: str = "WORK"
    status_pause: str = "PAUS"
    status_sources: tuple[str, ...] = SOURCES
    """What an agent's status follows, words of `agents.SOURCES`."""
    pbx_requests_per_second: float = 1.0
    """How often the PBX may be asked (unitalk.md §1.2)."""
    dialers: tuple[str, ...] = ()
    """Autodialers of the PBX that may be used from Bitrix24, by their ids."""
    dialer_templates: Mapping[str, Any] = field(default_factory=dict)
    """Bodies of the autodialer's requests where they differ from `dialer_templates.DEFAULTS`."""
    fold_unanswered_dials: bool = False
    """A dialer's call that reached nobody is not registered; only its outcome goes to the record."""

    @property
    def status_words(self) -> Words:
        return Words(self.status_work, self.status_pause)

    @property
    def rules(self) -> Rules:
        return Rules(
            crm_create_in=self.crm_create_in,
            crm_create_out=self.crm_create_out,
            drive=self.drive,
            drive_recordings=self.drive_recordings,
            layout=self.layout,
            card_to_responsible=self.card_to_responsible,
            fold_unanswered_dials=self.fold_unanswered_dials,
            dispositions=self.dispositions,
        )


def pack_settings(settings: PortalSettings) -> dict[str, Any]:
    """JSON-able; only what differs from the defaults."""
    data = {
        f.name: (dict(v) if isinstance(v, Mapping) else v)
        for f in fields(settings)
        if (v := getattr(settings, f.name)) != getattr(_DEFAULTS, f.name)
    }
    if "dispositions" in data:
        data["dispositions"] = [rules_of.pack(rule) for rule in settings.dispositions]
    return data


def unpack_settings(data: Mapping[str, Any]) -> PortalSettings:
    names = {f.name for f in fields(PortalSettings)}
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data.items()
        if name in names
    }
    if "dispositions" in known:
        known["dispositions"] = tuple(rules_of.unpack(rule) for rule in known["dispositions"])
    return PortalSettings(**known)


_DEFAULTS = PortalSettings()


@dataclass(frozen=True, slots=True)
class Portal:
    """One installation. Secrets are in the clear here and encrypted in the store.

    `client_endpoint` is the verified REST root, ending in `/rest/`; `auth_server` one of the
    allow-listed hosts, without a trailing slash. `domain` may change (rename), `member_id` never.
    """

    member_id: str
    domain: str
    client_endpoint: str
    auth_server: str
    application_token: str = ""
    scope: tuple[str, ...] = ()
    status: str = ""
    state: PortalState = PortalState.INSTALLING
    state_reason: str = ""
    state_since: float = 0.0
    language: str = "en"
    license_family: str = ""
    app_code: str = ""
    version: str = ""
    rest_app_id: str = ""
    """The app's id in this portal (`app.info` ID): our own telephony events carry it."""
    installed_by: int | None = None
    unitalk_key: str = ""
    settings: PortalSettings = _DEFAULTS
    created_at: float = 0.0
    updated_at: float = 0.0

    @property
    def works(self) -> bool:
        return self.state in (PortalState.ACTIVE, PortalState.INSTALLING)

    @property
    def unitalk_key_last4(self) -> str:
        """What may be shown of the PBX's key: its last four characters, nothing of a short one."""
        return self.unitalk_key[-4:] if len(self.unitalk_key) >= 12 else ""

    def can(self, *any_of: str) -> bool:
        """Whether the portal granted one of these scopes, as far as we were told."""
        return grants(self.scope, *any_of)

    @property
    def tells_statuses(self) -> bool:
        """Whether agents' statuses go to the PBX: switched on, and there is a key to say them with."""
        return self.settings.status_sync and bool(self.unitalk_key)

    @property
    def status_sources(self) -> tuple[str, ...]:
        """The administrator's choice, without the time clock where the portal does not grant it."""
        return tuple(one for one in self.settings.status_sources if one != "timeman" or self.can("timeman"))

    @property
    def rules(self) -> Rules:
        """The administrator's rules, without what the portal does not let us do: it is not owed."""
        rules = self.settings.rules
        return replace(rules, drive=rules.drive and self.can("disk"), layout=rules.layout and self.can("crm"))


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An administrator's (or user's) OAuth pair. `generation` grows with each refresh."""

    portal: str
    user_id: int
    access: str
    refresh: str
    expires_at: float
    is_admin: bool
    refreshed_at: float
    generation: int = 1
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """A Bitrix24 user as the directory snapshot holds it."""

    user_id: int
    name: str
    extension: str | None = None
    email: str | None = None
    active: bool = True
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A vendor's directory as it was at `taken_at`: `items` are JSON objects."""

    kind: str
    taken_at: float
    items: tuple[Mapping[str, Any], ...]
