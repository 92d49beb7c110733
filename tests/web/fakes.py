"""Small stand-ins for the web side's collaborators: in memory, and honest about what they were asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bitrix_app.bitrix.events import BitrixEvent
from bitrix_app.clock import VirtualClock
from bitrix_app.core.advance import Owed, Transition
from bitrix_app.core.agents import AgentStatus
from bitrix_app.core.call import Call
from bitrix_app.core.comparison import Difference
from bitrix_app.core.jobs import Attempt, Job, JobError, JobState
from bitrix_app.core.ledger import Material
from bitrix_app.core.portal import Portal, PortalState, Snapshot
from bitrix_app.core.ports import Profile, Verified, Verifier
from bitrix_app.core.repair import Repair
from bitrix_app.core.store import Store, StoreUnavailable, WebhookToken
from bitrix_app.portals import FrameTokens
from bitrix_app.settings import Settings
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.session import Role, SessionSigner

BASE = "https://calls.example.com"
KEY = "k3y-of-the-tests-0123456789abcdefghij"
SAMPLES = Path(__file__).parents[1] / "samples" / "bitrix24"
MEMBER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OTHER = "ffffffffffffffffffffffffffffffff"
DOMAIN = "some-domain.bitrix24.com"
APP_TOKEN = "9c8b7a6d5e4f30211203f4e5d6a7b8c9"
HOOK = "hook-canary-3f9a7c1e5b2d8064"
PBX_KEY = "pbx-canary-key-99887766"
ADMIN, AGENT, OTHER_AGENT = 1, 7, 9


def sample(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return data


def portal(**changes: Any) -> Portal:
    base = Portal(
        MEMBER,
        DOMAIN,
        f"https://{DOMAIN}/rest/",
        "https://oauth.bitrix24.tech",
        application_token=APP_TOKEN,
        state=PortalState.ACTIVE,
        unitalk_key=PBX_KEY,
        created_at=1_788_000_000.0,
    )
    return replace(base, **changes)


def verified(**changes: Any) -> Verified:
    base = Verified(
        MEMBER,
        DOMAIN,
        f"https://{DOMAIN}/rest/",
        "https://oauth.bitrix24.tech",
        ADMIN,
        ("telephony", "crm"),
        "L",
        "1",
        installed=True,
        expires_at=None,
    )
    return replace(base, **changes)


def call(call_id: str = "c1", **changes: Any) -> Call:
    base = Call(call_id, MEMBER, 1_788_333_000.0, number="+380440000011", user_id=AGENT)
    return replace(base, **changes)


def job(job_id: int, lane: str, kind: str, state: JobState = JobState.DONE, **changes: Any) -> Job:
    base = Job(job_id, MEMBER, lane, kind, kind, {}, 1, state, 1_788_333_010.0, 1_788_333_000.0)
    return replace(base, **changes)


TROUBLE = JobError("ACCESS_DENIED", "authorization", "auth=canary-in-error refused", "Ask an admin.", "admin")


@dataclass
class FakeStore:
    """Portals, calls and lanes in dicts; `away` makes every verb fail as a full disk would."""

    portals_: dict[str, Portal] = field(default_factory=dict)
    tokens: list[WebhookToken] = field(default_factory=list)
    calls_: list[Call] = field(default_factory=list)
    lanes: dict[str, list[Job]] = field(default_factory=dict)
    attempts_: dict[int, list[Attempt]] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    owed: list[tuple[str, str]] = field(default_factory=list)
    owed_commands: list[Owed] = field(default_factory=list)
    repairs_: dict[str, Repair] = field(default_factory=dict)
    statuses_: dict[str, AgentStatus] = field(default_factory=dict)
    applied: list[Transition] = field(default_factory=list)
    hastened: list[str] = field(default_factory=list)
    material: Material = field(default_factory=lambda: Material((), {}, {}, {}))
    differences_: list[Difference] = field(default_factory=list)
    away: str = ""
    trouble: str = ""

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailable(self.away)

    async def portal(self, member_id: str) -> Portal | None:
        self._here()
        return self.portals_.get(member_id)

    async def save_portal(self, saved: Portal) -> None:
        self.portals_[saved.member_id] = saved

    async def owe(self, _portal: str, lane: str, owed: Sequence[Owed], _now: float) -> int:
        self.owed += [(lane, item.key) for item in owed]
        self.owed_commands += owed
        return len(owed)

    async def transact(self, work: Any) -> Any:
        self._here()
        return await work(self)

    async def webhook_portal(self, token: str, now: float) -> Portal | None:
        self._here()
        for known in self.tokens:
            if known.token == token and (known.expires_at is None or known.expires_at > now):
                return self.portals_.get(known.portal)
        return None

    async def webhook_tokens(self, member_id: str) -> Sequence[WebhookToken]:
        return [token for token in self.tokens if token.portal == member_id]

    async def add_webhook_token(self, token: WebhookToken, *, overlap_until: float | None) -> None:
        self.tokens = [replace(t, expires_at=t.expires_at or overlap_until) for t in self.tokens] + [token]

    async def snapshot(self, _portal: str, kind: str) -> Snapshot | None:
        return self.snapshots.get(kind)

    async def save_snapshot(self, _portal: str, saved: Snapshot) -> None:
        self.snapshots[saved.kind] = saved

    async def intent(self, _portal: str, _intent_id: str) -> None:
        """This store has no retry list; `tests.web.calling` has a real one."""

    async def calls(
        self, portal: str, *, limit: int = 50, before: tuple[float, str] | None = None
    ) -> Sequence[Call]:
        self._here()
        mine = [c for c in self.calls_ if c.portal == portal]
        mine.sort(key=lambda c: (c.first_seen_at, c.id), reverse=True)
        return [c for c in mine if before is None or (c.first_seen_at, c.id) < before][:limit]

    async def call(self, portal: str, call_id: str) -> Call | None:
        return next((c for c in self.calls_ if (c.portal, c.id) == (portal, call_id)), None)

    async def lane(self, _portal: str, lane: str) -> Sequence[Job]:
        return self.lanes.get(lane, [])

    async def unmatched_calls(self, portal: str, extension: str, limit: int) -> Sequence[Call]:
        mine = [c for c in self.calls_ if c.portal == portal and c.finished and c.unmatched == extension]
        return mine[:limit]

    async def unmatched_count(self, portal: str, extension: str) -> int:
        return len(await self.unmatched_calls(portal, extension, 10**9))

    async def unmatched_counts(self, portal: str) -> Mapping[str, int]:
        return Counter(c.unmatched for c in self.calls_ if c.portal == portal and c.finished and c.unmatched)

    async def save_repair(self, repair: Repair) -> None:
        self.repairs_[repair.id] = repair

    async def repair(self, portal: str, repair_id: str) -> Repair | None:
        found = self.repairs_.get(repair_id)
        return found if found and found.portal == portal else None

    async def repairs(self, portal: str, *, limit: int = 20) -> Sequence[Repair]:
        return [one for one in reversed(self.repairs_.values()) if one.portal == portal][:limit]

    async def job_states(self, portal: str, lanes: Sequence[str], key: str) -> Mapping[JobState, int]:
        return Counter(job.state for lane in lanes for job in self.lanes.get(lane, []) if job.key == key)

    async def apply(self, transition: Transition, _now: float) -> int:
        self.applied.append(transition)
        self.calls_ = [transition.call if c.id == transition.call.id else c for c in self.calls_]
        return len(transition.owed)

    async def agent_status(self, _portal: str, extension: str) -> AgentStatus | None:
        return self.statuses_.get(extension)

    async def agent_statuses(self, _portal: str) -> Sequence[AgentStatus]:
        return [self.statuses_[extension] for extension in sorted(self.statuses_)]

    async def save_agent_status(self, status: AgentStatus) -> None:
        self.statuses_[status.extension] = status

    async def hasten_agents(self, _portal: str, extensions: Sequence[str], _now: float) -> int:
        self.hastened += extensions
        return len(extensions)

    async def ledger_material(self, portal: str, since: float, until: float) -> Material:
        self._here()
        rows = tuple(row for row in self.material.rows if since <= row.started_at < until)
        return replace(self.material, rows=rows)

    async def differences(self, portal: str) -> Sequence[Difference]:
        return self.differences_

    async def attempts(self, _portal: str, job_id: int) -> Sequence[Attempt]:
        return self.attempts_.get(job_id, [])

    async def status(self) -> Mapping[str, Any]:
        self._here()
        return {"writable": not self.trouble, "reason": self.trouble or None, "schema": 1}


@dataclass
class FakeVerifier:
    """Knows tokens by what it was told; asks nobody."""

    known: dict[str, Verified] = field(default_factory=dict)
    admins: set[int] = field(default_factory=lambda: {ADMIN})
    trouble: Exception | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    zone: str = "Europe/Kyiv"

    async def verify(self, access_token: str, auth_server_hint: str = "") -> Verified:
        from bitrix_app.core.errors import Forbidden

        self.asked.append((access_token, auth_server_hint))
        if self.trouble:
            raise self.trouble
        if access_token not in self.known:
            raise Forbidden("not ours", code="invalid_token")
        return self.known[access_token]

    async def profile(self, verified: Verified, access_token: str) -> Profile:
        return Profile(verified.user_id, verified.user_id in self.admins, "Olena Hrytsenko", self.zone)


@dataclass
class FakeIntake:
    """Remembers what became durable; `failure` is raised instead."""

    store: FakeStore
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, BitrixEvent]] = field(default_factory=list)
    failure: Exception | None = None

    async def pbx(self, portal: Portal, **told: Any) -> None:
        if self.failure:
            raise self.failure
        self.webhooks.append({"portal": portal.member_id, **told})

    async def bitrix(self, portal: Portal, event: BitrixEvent, body: bytes, correlation_id: str) -> None:
        if self.failure:
            raise self.failure
        self.events.append((portal.member_id, event))


@dataclass
class FakePortals:
    """Stores what the auth server vouched for, as `bitrix_app.portals.Portals` does."""

    store: FakeStore
    clock: VirtualClock
    installs: list[tuple[Verified, Profile, FrameTokens, str, str]] = field(default_factory=list)
    heals: list[tuple[Verified, Profile, FrameTokens]] = field(default_factory=list)

    async def installed(
        self,
        verified: Verified,
        profile: Profile,
        tokens: FrameTokens,
        *,
        application_token: str = "",
        language: str = "en",
    ) -> Portal:
        self.installs.append((verified, profile, tokens, application_token, language))
        made = portal(
            member_id=verified.member_id,
            application_token=application_token,
            state=PortalState.INSTALLING,
            language=language,
            created_at=self.clock.now(),
        )
        await self.store.transact(lambda unit: unit.save_portal(made))
        return made

    async def heal(
        self,
        verified: Verified,
        profile: Profile,
        tokens: FrameTokens,
        *,
        application_token: str = "",
        language: str = "en",
    ) -> Portal:
        self.heals.append((verified, profile, tokens))
        healed = replace(self.store.portals_[verified.member_id], state=PortalState.ACTIVE)
        self.store.portals_[verified.member_id] = healed
        return healed


@dataclass
class Stage:
    """Everything a test touches."""

    store: FakeStore
    verifier: FakeVerifier
    intake: FakeIntake
    portals: FakePortals
    clock: VirtualClock
    signer: SessionSigner
    nudged: list[str] = field(default_factory=list)
    worker_alive: bool | None = True

    @property
    def deps(self) -> WebDeps:
        settings = Settings.model_validate({"app_base_url": BASE, "app_secret_keys": KEY})
        return WebDeps(
            settings=settings,
            store=cast("Store", self.store),
            clock=self.clock,
            verifier=cast("Verifier", self.verifier),
            intake=self.intake,
            portals=self.portals,
            signer=self.signer,
            nudge=self.nudged.append,
            worker_alive=lambda: self.worker_alive,
        )

    def session(
        self, role: Role = Role.ADMIN, user: int | None = None, language: str = "en"
    ) -> dict[str, str]:
        """Headers of a page that this user has open."""
        user = user or (ADMIN if role is Role.ADMIN else AGENT)
        token = self.signer.issue(self.store.portals_[MEMBER], user, role, language, "Europe/Kyiv")
        return {"Authorization": f"Bearer {token}"}


def stage() -> Stage:
    """One installed portal with a webhook address, three users, no calls."""
    clock = VirtualClock()
    store = FakeStore(portals_={MEMBER: portal()}, tokens=[WebhookToken(MEMBER, HOOK, 1_788_000_000.0)])
    people = ({"user_id": AGENT, "name": "Petro", "extension": "201"}, {"user_id": ADMIN, "name": "Olena"})
    store.snapshots["agents"] = Snapshot("agents", clock.now(), people)
    frame = sample("frame.app-page")["form"]
    verifier = FakeVerifier({frame["AUTH_ID"]: verified()})
    return Stage(
        store, verifier, FakeIntake(store), FakePortals(store, clock), clock, SessionSigner([KEY], clock)
    )
