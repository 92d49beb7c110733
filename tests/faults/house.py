"""The whole house in one process on a virtual clock and without sockets, so that faults come by hundreds.

`House` holds both emulators and the app. The app can be crashed at any request (nothing of it goes on,
what the servers had begun does) and started again on the same database.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import json
import math
import sqlite3
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from loguru import logger
from starlette.types import ASGIApp

from bitrix_app import app as app_module
from bitrix_app import recorder, watch
from bitrix_app.app import House as App
from bitrix_app.clock import VirtualClock
from bitrix_app.core.call import Call
from bitrix_app.core.errors import AnswerLost, NotSent, Unavailable
from bitrix_app.core.jobs import Job, JobState
from bitrix_app.core.ports import Download, HttpRequest, HttpResponse
from bitrix_app.sandbox.demo import SCOPES, install
from bitrix_app.sandbox.oauth import AppCard
from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.seed import ADMIN, seed_demo
from bitrix_app.settings import load
from storage.line import Line
from unitalk.sandbox import Facts, SandboxCall, SandboxPbx

PORTAL: Final = "http://127.0.0.1:8001"
AUTH: Final = "http://127.0.0.1:8002"
PBX: Final = "http://127.0.0.1:8003"
APP: Final = "http://127.0.0.1:8004"
TOKEN: Final = "webhook-token-of-the-fault-tests"
OPEN: Final = (JobState.BLOCKED, JobState.WAITING, JobState.RUNNING, JobState.RETRYING)
CARDS: Final = ("show", "hide", "find_responsible")
"""What may be dropped: it was about the moment."""
HEAD: Final = 512
STANDSTILL: Final = 10.0
"""Real seconds of work in one instant after which it is called a circle."""

_LIFE: contextvars.ContextVar[int] = contextvars.ContextVar("life", default=0)
"""Which life of the app a task belongs to; 0 for the emulators and the test."""


class HouseClock(VirtualClock):
    """Time moves only when nobody has anything left to do, threads of the house included.

    Instants are rounded up to 1/1024 s: unix seconds as floats are coarse, and work that is due by one
    clock and not yet by the other would be asked about in a circle while time stands still (`exact`
    keeps that, for the test of it).
    """

    def __init__(self, *, exact: bool = False) -> None:
        super().__init__()
        self.threads = 0
        self.back = asyncio.Event()
        """Set whenever a thread's work is done."""
        self.exact = exact

    async def _drain(self) -> None:
        ready = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009 - not in the types
        began = time.monotonic()
        while True:
            assert time.monotonic() - began < STANDSTILL, (
                "work goes round in a circle while time stands still"
            )
            await asyncio.sleep(0)
            if ready:
                continue
            if not self.threads:
                return
            self.back.clear()
            await self.back.wait()

    async def step(self, until: float) -> bool:
        """Go to the next instant at which somebody wakes; false when that is after `until`."""
        await self._drain()
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers or self._sleepers[0][0] > until:
            self._now = max(self._now, until)
            await self._drain()
            return False
        due, _, woken = heapq.heappop(self._sleepers)
        self._now = max(self._now, due if self.exact else math.ceil(due * 1024) / 1024)
        woken.set_result(None)
        await self._drain()
        return True


@dataclass(slots=True)
class Trip:
    """One request of the app to a vendor, for planning crashes: `name` is the method or the path."""

    number: int
    name: str
    inner: int = 0


class HouseHttp:
    """`core.ports.Http` that calls ASGI apps by base URL. What a real socket would do to the client is
    done here: dropped connections are lost answers, silence is a timeout, cut bodies are noticed.
    """

    def __init__(self, clock: HouseClock) -> None:
        self._clock = clock
        self._apps: dict[str, ASGIApp] = {}
        self._outside = contextvars.copy_context()
        self._inside: contextvars.Context | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.trips: list[Trip] = []
        self.life = 0
        self.refuse: Callable[[str], bool] | None = None
        """Says of a request's name whether it cannot be sent."""
        self.later: list[tuple[str, float]] = []
        """(name, seconds): the answer is lost at once, the request arrives so much later."""
        self.patience: dict[str, float] = {}
        """Seconds by name that a request may last where bytes keep flowing (a slow upload)."""
        self.crash_before: int | None = None
        self.crash_after: int | None = None
        self.crashed = asyncio.Event()

    def serve(self, base: str, app: ASGIApp) -> None:
        self._apps[urlsplit(base).netloc] = app

    def unplug(self, base: str) -> None:
        """Nobody listens there any more."""
        self._apps.pop(urlsplit(base).netloc, None)

    def begin(self, life: int) -> None:
        """From inside the app's own task: its requests and those to it belong to this life."""
        self.life = life
        self._inside = contextvars.copy_context()

    # --- Http ------------------------------------------------------------------------------------

    async def send(self, request: HttpRequest) -> HttpResponse:
        answer = await self._trip(request)
        return HttpResponse(answer.status_code, _headers(answer), answer.content)

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        try:
            answer = await self._trip(request)
        except AnswerLost as lost:
            raise Unavailable(lost.message) from None
        if answer.status_code != 200:
            return Download(answer.status_code, _headers(answer), 0, answer.content[:HEAD])
        size = len(answer.content)
        if int(answer.headers.get("content-length", size)) != size:
            raise Unavailable("The download was cut short")
        target.write_bytes(answer.content)  # noqa: ASYNC240 - a few kilobytes
        return Download(200, _headers(answer), size, answer.content[:HEAD])

    # --- the way ---------------------------------------------------------------------------------

    async def _trip(self, request: HttpRequest) -> httpx.Response:
        life = _LIFE.get()
        if not life:
            return await self._answered(request, 0.0)
        if life != self.life:
            await _never()  # a ghost of an earlier life: a killed process sends nothing
        trip = Trip(len(self.trips), _name(request))
        self.trips.append(trip)
        if self.refuse is not None and self.refuse(trip.name):
            raise NotSent("refused by the test")
        if self.crash_before == trip.number:
            self.crashed.set()
            await _never()
        for late in self.later:
            if late[0] == trip.name:
                self.later.remove(late)
                self._keep(self._serve(request, late[1]), self._outside)
                raise AnswerLost("the answer is lost, the request is on its way")
        answer = await self._answered(request, self.patience.get(trip.name, request.timeout))
        if self.crash_after == trip.number:
            self.crashed.set()
            await _never()
        return answer

    async def _answered(self, request: HttpRequest, patience: float) -> httpx.Response:
        ours = urlsplit(request.url).netloc == urlsplit(APP).netloc
        context = self._inside if ours and self._inside is not None else self._outside
        work = self._keep(self._serve(request, 0.0), context)
        nap = asyncio.ensure_future(self._clock.sleep(patience or 3600.0))
        try:
            await asyncio.wait({work, nap}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
        if not work.done():
            raise AnswerLost("no answer in time")
        return work.result()

    def _keep(
        self, work: Coroutine[Any, Any, httpx.Response], context: contextvars.Context
    ) -> asyncio.Task[httpx.Response]:
        task = asyncio.get_running_loop().create_task(work, context=context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._landed)
        return task

    def _landed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _serve(self, request: HttpRequest, after: float) -> httpx.Response:
        files = [
            (part.field, (part.filename, part.path.read_bytes(), part.content_type)) for part in request.files
        ]
        built = httpx.Request(
            request.method,
            request.url,
            headers={"User-Agent": "unitalk-bitrix24", **request.headers},
            content=None if files else request.body,
            files=files or None,
        )
        await built.aread()
        if after:
            await self._clock.sleep(after)
        app = self._apps.get(urlsplit(request.url).netloc)
        if app is None:
            raise NotSent("nobody listens there")
        transport = httpx.ASGITransport(app)
        try:
            answer = await transport.handle_async_request(built)
            await answer.aread()
        except ConnectionError as dropped:
            raise AnswerLost(f"The connection broke ({type(dropped).__name__})") from None
        return answer

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _name(request: HttpRequest) -> str:
    path = urlsplit(request.url).path
    if path.startswith("/rest/"):
        return path.removeprefix("/rest/").removesuffix(".json").lower()
    if path.endswith("/autodial/action"):
        return str(json.loads(request.body)["action"])  # one path for all that is said to a dialer
    return "recording" if path.startswith("/tracking/") else path


@dataclass
class House:
    """Everything, and the ways to look at it. Made by `house`."""

    folder: Path
    clock: HouseClock
    http: HouseHttp
    portal: SandboxPortal
    pbx: SandboxPbx
    settings: Any
    troubles: list[str] = field(default_factory=list)
    """What the app logged as errors: a fault of the vendors is none of them."""
    numbers: int = 0
    _app: App | None = None
    _life: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: weakref.WeakSet[asyncio.Task[Any]] = field(default_factory=weakref.WeakSet)

    # --- the app's lives -------------------------------------------------------------------------

    @property
    def app(self) -> App:
        assert self._app is not None
        return self._app

    @property
    def member_id(self) -> str:
        return self.portal.world.member_id

    async def start(self) -> None:
        """A new life of the app on the same database."""
        self._stop = asyncio.Event()
        started = asyncio.Event()
        life = self.http.life + 1
        self.http.crash_before = self.http.crash_after = None
        self.http.crashed.clear()

        async def live() -> None:
            _LIFE.set(life)
            self.http.begin(life)
            async with app_module.compose(self.settings, self.clock, self.http) as app:
                self._app = app
                self.http.serve(APP, app.asgi)
                started.set()
                await self._stop.wait()

        self._life = asyncio.create_task(live())
        while not started.is_set():
            assert not self._life.done(), self._life.exception()
            await asyncio.sleep(0.0005)

    async def crash(self) -> None:
        """As SIGKILL: nothing is sent, stored or settled any more; what was committed is there."""
        assert self._life is not None
        self.http.life += 1
        writer = getattr(self.app.store, "_writer")  # noqa: B009 - the port has no way to die
        writer._closed = True
        tasks = [t for t in self._tasks if t is not self._life and not t.done()]
        for _ in range(50):
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
            if all(task.done() for task in tasks):
                break
        self._stop.set()
        while not self._life.done():  # noqa: ASYNC110 - threads have to come back too
            await asyncio.sleep(0.0005)
        with contextlib.suppress(asyncio.CancelledError):
            self._life.result()
        self._life = None

    async def stop(self) -> None:
        """As SIGTERM."""
        assert self._life is not None
        self._stop.set()
        while not self._life.done():
            await self.clock.step(self.clock.now() + 1.0)
            await asyncio.sleep(0)
        self._life.result()
        self._life = None

    def born(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        """The task factory: remembers the app's own tasks."""
        task = asyncio.Task(work, loop=loop, **more)
        context = more.get("context")
        if (context.get(_LIFE, 0) if context is not None else _LIFE.get()) > 0:
            self._tasks.add(task)
        return task

    # --- time ------------------------------------------------------------------------------------

    async def run_for(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        while await self.clock.step(end):
            pass

    async def run_until(
        self, true: Callable[[], bool | Awaitable[bool]], most_seconds: float, what: str = ""
    ) -> None:
        """Let time pass until `true`, at most so long. An awaitable condition is asked once a second."""
        end = self.clock.now() + most_seconds
        asked = -1.0
        while True:
            await self.clock.step(self.clock.now())
            now = self.clock.now()
            answer: bool | Awaitable[bool] = False
            if now - asked >= 1.0 or now >= end:
                answer = true()
                if not isinstance(answer, bool):
                    answer, asked = await answer, now
            if answer:
                return
            assert now < end, f"in {most_seconds} s it did not come to: {what or 'the condition'}"
            await self.clock.step(end)

    async def is_settled(self) -> bool:
        """Nothing is owed: no open job, no late effect still to land."""
        counts = await self.app.store.job_counts(self.member_id)
        return not any(counts.get(state) for state in OPEN) and not self.portal.rest._late

    async def settle(self, most_seconds: float = 3600.0, calls: int = 0) -> list[Call]:
        """Until `calls` are known and nothing is owed; then long enough for anything late to land."""

        async def over() -> bool:
            return await self.is_settled() and len(await self.calls()) >= calls

        try:
            await self.run_until(over, most_seconds)
            await self.run_for(100.0)
            await self.run_until(over, most_seconds)
        except AssertionError:
            raise AssertionError(f"still owed: {await self.open_jobs()}") from None
        return await self.calls()

    # --- looking ---------------------------------------------------------------------------------

    async def calls(self) -> list[Call]:
        return list(await self.app.store.calls(self.member_id, limit=1000))

    async def jobs(self, call: Call) -> list[Job]:
        return list(await self.app.store.lane(self.member_id, call.id))

    async def open_jobs(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                call.id[-4:],
                job.key,
                str(job.state),
                f"{job.error.code}: {job.error.message}" if job.error else "",
            )
            for call in await self.calls()
            for job in await self.jobs(call)
            if job.state in OPEN
        ]

    def files(self) -> Counter[str]:
        """Names of the living files of calls below our folder on Drive."""
        return Counter({name: n for name, n in self._drive().items() if not name.startswith("ledger_")})

    def ledgers(self) -> Counter[str]:
        """Names of the ledgers on Drive."""
        return Counter({name: n for name, n in self._drive().items() if name.startswith("ledger_")})

    def _drive(self) -> Counter[str]:
        found: Counter[str] = Counter()

        def walk(tree: dict[str, Any]) -> None:
            for name, value in tree.items():
                if isinstance(value, dict):
                    walk(value)
                else:
                    found[name] += 1

        for storage in self.portal.drive_tree().values():
            walk(storage.get("Unitalk", {}))
        return found

    # --- doing -----------------------------------------------------------------------------------

    async def restarted_at_the_crash(self, within: float = 40.0) -> bool:
        """Wait for the planned crash and start anew; false when it did not come to it."""
        end = self.clock.now() + within
        while not self.http.crashed.is_set() and self.clock.now() < end:
            await self.clock.step(end)
        if not self.http.crashed.is_set():
            return False
        await self.crash()
        await self.start()
        return True

    async def ends_in_one_moment(self, count: int, **more: Any) -> list[SandboxCall]:
        """A backlog: so many calls are told of before anything can be said to a vendor."""
        self.http.refuse = lambda _: True
        calls = [self.past_call(**more) for _ in range(count)]
        for call in calls:
            await self.end_alone(call)
        self.http.refuse = None
        return calls

    async def reinstalled(self) -> None:
        self.portal.reinstall()
        doing = asyncio.ensure_future(install(self.portal, cast(Any, self.http), self.app))
        await self.run_until(doing.done, 60.0, "the installation")
        doing.result()

    def posting(self, call: SandboxCall) -> asyncio.Task[HttpResponse]:
        """END on its way, for tests in which the app may not come to answer it."""
        raw = json.dumps(self.pbx.webhooks_for(call)[-1]).encode()
        request = HttpRequest("POST", self.webhook, {"Content-Type": "application/json"}, raw)
        return asyncio.ensure_future(self.http.send(request))

    def number(self) -> str:
        """A stranger's, another each time."""
        self.numbers += 1
        return f"38067{self.numbers:07}"

    def past_call(self, number: str | None = None, *, ago: float = 20.0, **more: Any) -> SandboxCall:
        """An answered call that is over; its webhooks are the test's to post."""
        facts = Facts(at=self.clock.now() - ago, deliver=False)
        how: dict[str, Any] = {"ring": ("2001", "2002"), "answered_by": "2002", "talk": 8} | more
        return self.pbx.incoming(number or self.number(), facts=facts, **how)

    def live_call(self, number: str | None = None, **more: Any) -> SandboxCall:
        """An answered call whose webhooks come in time."""
        how: dict[str, Any] = {"ring": ("2001", "2002"), "answered_by": "2002", "talk": 8.0} | more
        return self.pbx.incoming(number or self.number(), ring_seconds=3.0, **how)

    async def post(self, body: dict[str, Any] | bytes) -> int:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = HttpRequest("POST", self.webhook, {"Content-Type": "application/json"}, raw, timeout=15.0)
        sending = asyncio.ensure_future(self.http.send(request))
        await self.clock.step(self.clock.now())
        while not sending.done():
            await self.clock.step(self.clock.now())
        return sending.result().status

    async def end_alone(self, call: SandboxCall) -> None:
        assert await self.post(self.pbx.webhooks_for(call)[-1]) == 200

    @property
    def webhook(self) -> str:
        return f"{APP}/unitalk/events/{TOKEN}"

    async def installed(self) -> None:
        """The administrator installs the app, and what that owes is done."""
        doing = asyncio.ensure_future(install(self.portal, cast(Any, self.http), self.app))
        await self.run_until(doing.done, 60.0, "the installation")
        doing.result()
        await self.run_until(self.is_settled, 60.0, "bindings and directory")
        self.pbx.connect(self.webhook)

    async def open_app(self, user_id: int = ADMIN) -> int:
        """That user's browser opens the app's page."""
        frame = self.portal.open_frame(user_id)
        assert frame is not None
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        request = HttpRequest("POST", frame.address, headers, urlencode(frame.form).encode(), timeout=15.0)
        sending = asyncio.ensure_future(self.http.send(request))
        await self.run_until(sending.done, 30.0, "the frame")
        return sending.result().status


@asynccontextmanager
async def house(
    folder: Path,
    *,
    install_app: bool = True,
    bucket: tuple[float, float] = (50, 2.0),
    family: str = "pro",
    threads: bool = True,
) -> AsyncIterator[House]:
    """Both emulators and the app, installed and connected. Without `threads` the database works on the
    loop's own thread, which is much faster where it is asked a million times and nothing else waits.
    """
    clock = HouseClock()
    http = HouseHttp(clock)
    card = AppCard(
        client_id="local.5f0c1e9a7b42d6.10203040",
        client_secret="a-secret-of-the-fault-tests",
        app_url=f"{APP}/bitrix/app",
        install_url=f"{APP}/bitrix/install",
        scopes=SCOPES,
    )
    portal = SandboxPortal(
        clock, http, base_url=PORTAL, auth_url=AUTH, card=card, bucket=bucket, license_family=family
    )
    seed_demo(portal)
    pbx = SandboxPbx(clock, http, base_url=PBX)
    http.serve(PORTAL, portal.asgi)
    http.serve(AUTH, portal.auth.asgi)
    http.serve(PBX, pbx.asgi)
    settings = load(
        env_file=folder / "none.env",
        allow_loopback=True,
        app_base_url=APP,
        app_secret_keys="Zt3vQ8xLr0yPq5WmN7uBc2HdKf9sGa4JeTi6oXlVbYnRwCzD",
        database_url=f"sqlite:///{folder}/unitalk.db",
        bitrix_client_id=card.client_id,
        bitrix_client_secret=card.client_secret,
        bitrix_auth_servers=AUTH,
        unitalk_api_url=pbx.api_url,
        unitalk_portal=portal.world.member_id,
        unitalk_api_key=pbx.api_key,
        unitalk_webhook_token=TOKEN,
        unitalk_recording_hosts="127.0.0.1",
        unitalk_timezone="Europe/Kyiv",
        bx24_js_url=f"{PORTAL}/bx24.js",
    )
    loop = asyncio.get_running_loop()
    up = House(folder, clock, http, portal, pbx, settings)
    _LISTENING.append(up.troubles)
    with pytest.MonkeyPatch.context() as patch:
        _count_threads(patch, clock)
        if not threads:
            _on_the_loop(patch)
        for ticking in (recorder, watch):
            patch.setattr(ticking, "EVERY", 30.0)  # a tick of each second would be most of the work
        loop.set_task_factory(up.born)
        try:
            async with portal.running(), pbx.running():
                await up.start()
                if install_app:
                    await up.installed()
                yield up
        finally:
            if up._life is not None:
                await up.crash()
            await http.close()
            loop.set_task_factory(None)
            _LISTENING.remove(up.troubles)


_LISTENING: list[list[str]] = []


def _hear(line: str) -> None:
    for troubles in _LISTENING:
        troubles.append(str(line))


logger.add(_hear, level="ERROR", format="{message}")  # once: a sink costs loguru 5 ms


def _count_threads(patch: pytest.MonkeyPatch, clock: HouseClock) -> None:
    """Time must not pass while a thread of the house works."""
    on_thread, to_thread = Line.on_thread, asyncio.to_thread

    async def counted_line(self: Line, function: Callable[..., Any]) -> Any:
        clock.threads += 1
        try:
            return await on_thread(self, function)
        finally:
            clock.threads -= 1
            clock.back.set()

    async def counted_thread(function: Callable[..., Any], /, *args: Any, **more: Any) -> Any:
        clock.threads += 1
        try:
            return await to_thread(function, *args, **more)
        finally:
            clock.threads -= 1
            clock.back.set()

    patch.setattr(Line, "on_thread", counted_line)
    patch.setattr(asyncio, "to_thread", counted_thread)


def assert_no_card_is_open(up: House) -> None:
    """«No card stays open at the end of any journey.»"""
    assert up.portal.open_cards() == [], "a card stayed open"


def _on_the_loop(patch: pytest.MonkeyPatch) -> None:
    connect: Any = sqlite3.connect

    def shared(*args: Any, **more: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*args, **more, check_same_thread=False)
        return made

    async def at_once(self: Line, function: Callable[..., Any]) -> Any:
        return function(self._conn)

    patch.setattr(sqlite3, "connect", shared)
    patch.setattr(Line, "on_thread", at_once)


async def assert_exactly_once(
    up: House, told: Sequence[SandboxCall], *, recordings: bool = True, strays: bool = False
) -> None:
    """The promise: each PBX call stands in the portal once, whole, and nothing is left over.

    `strays` allows rows that were registered and never finished: nobody sees them, the portal purges
    them after 30 days. For effects that nothing could have prevented or found.
    """
    calls = await up.calls()
    assert len(calls) == len(told), "calls of ours against calls of the PBX"
    left = [
        (job.key, str(job.state), f"{job.error.code}: {job.error.message}" if job.error else "")
        for call in calls
        for job in await up.jobs(call)
        if job.state is not JobState.DONE and not (job.state is JobState.CANCELLED and job.kind in CARDS)
    ]
    assert left == []
    assert_no_card_is_open(up)
    if not strays:
        assert [c.call_id for c in up.portal.pending_calls] == [], "registered and never finished"
    for call in calls:
        found = up.portal.effects(call.id)
        assert (found.finished, found.activities) == (1, 1)
        assert found.registered == 1 or strays
        assert found.recordings == int(recordings)
        if recordings:
            row = next(row for row in up.portal.calls if row.external_id == call.id)
            assert row.record_file_id in up.portal.state.objects, "the attached recording was deleted"
    names = {f"{c.drive_copy_name}" for c in calls if recordings} | {f"{c.document_name}" for c in calls}
    assert up.files() == Counter(names), "each document and each copy once on Drive"
    assert len(up.portal.calls) == len(told), "finished calls in the portal"
    assert up.troubles == []
