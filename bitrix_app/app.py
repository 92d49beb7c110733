"""The composition root: builds everything, closes it in reverse. Only this module knows everybody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loguru import logger
from starlette.types import ASGIApp

from bitrix_app import logs
from bitrix_app.agent_rooms import AgentsRound, StatusRoom
from bitrix_app.agents import AgentHearer
from bitrix_app.bitrix.auth import PortalVerifier
from bitrix_app.bitrix.client import BitrixClient
from bitrix_app.bitrix.drive import Drive
from bitrix_app.bitrix.servers import AuthServers
from bitrix_app.bitrix.tokens import TokenRefresher
from bitrix_app.campaign_hearing import BatchLanes, CampaignLanes
from bitrix_app.cards import Cards
from bitrix_app.check import KINDS, Check, Report
from bitrix_app.clock import SystemClock
from bitrix_app.comparing import Comparing
from bitrix_app.control import CommandRefused, NobodyThere, Say, ask, listening
from bitrix_app.core.agent_saying import LANE as AGENT
from bitrix_app.core.portal import Portal
from bitrix_app.core.ports import Clock, Http
from bitrix_app.core.store import Store, StoreUnavailable
from bitrix_app.desk import Desk, new_call_id
from bitrix_app.dialing import Dialing
from bitrix_app.directory import Directory
from bitrix_app.filing import Filing, RecordingSource
from bitrix_app.gateway import HttpGateway
from bitrix_app.hearing import Calls, Hearers
from bitrix_app.intake import Intake
from bitrix_app.lanes import PortalLanes
from bitrix_app.ledger_filing import LedgerFiling
from bitrix_app.limiters import Limiters
from bitrix_app.lines import Lines
from bitrix_app.moving import Moving
from bitrix_app.outages import Outages
from bitrix_app.outbox import Outbox, Room
from bitrix_app.owners import Owners
from bitrix_app.portals import Portals, Prefill
from bitrix_app.reconcile import Reconciler
from bitrix_app.reconcile_command import ReconcileCommand, Wish
from bitrix_app.reconciling import Reconciling
from bitrix_app.recorder import Recorder
from bitrix_app.records import Records
from bitrix_app.serving import listen, serving
from bitrix_app.settings import Settings
from bitrix_app.starting import Starting
from bitrix_app.upkeep import Addresses, Upkeep
from bitrix_app.vault import SecretVault
from bitrix_app.watch import Watch
from bitrix_app.web.deps import WebDeps
from bitrix_app.web.routes import asgi
from bitrix_app.web.session import SessionSigner
from bitrix_app.wishing import Wishing
from bitrix_app.worker import Worker
from storage import open_store, sqlite_path
from storage.looking import Looked, look_at
from unitalk.client import UnitalkClient

SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True)
class House:
    """The running application, for whoever serves or tests it."""

    asgi: ASGIApp
    store: Store
    worker: Worker
    clock: Clock
    reconciler: Reconciler


def spool_beside(database_url: str) -> Path:
    """Fetched recordings lie beside the database, on the same disk."""
    if database_url.startswith(SQLITE):
        return Path(database_url.removeprefix(SQLITE)).parent / "recordings"
    return Path("data/recordings")


@asynccontextmanager
async def compose(
    settings: Settings, clock: Clock | None = None, http: Http | None = None
) -> AsyncIterator[House]:
    """Build the house, run its worker inside, and close all in reverse. A given `http` stays the giver's.

    Raises `core.store.StoreUnavailable` when the database is in use, damaged or of a newer version.
    """
    clock = clock or SystemClock()
    if settings.allow_loopback:
        logger.warning(
            "ALLOW_LOOPBACK is on: plain http and loopback addresses are trusted. Never in production"
        )
    database_url = settings.database_url.get_secret_value()
    base_url = settings.app_base_url or ""
    async with AsyncExitStack() as stack:
        store = await open_store(database_url, SecretVault(",".join(settings.secret_keys)), clock)
        stack.push_async_callback(store.close)
        if http is None:
            http = gateway = HttpGateway(allow_loopback=settings.allow_loopback)
            stack.push_async_callback(gateway.close)

        servers = AuthServers(settings.bitrix_auth_servers, allow_loopback=settings.allow_loopback)
        secret = settings.bitrix_client_secret.get_secret_value()
        refresher = TokenRefresher(http, clock, store, servers, settings.bitrix_client_id, secret)
        stack.push_async_callback(refresher.aclose)
        limiters = Limiters(store, clock)
        await limiters.restore()
        recorder = Recorder(store, clock, limiters.items)
        verifier = PortalVerifier(http, clock, settings.bitrix_client_id, servers, spend=limiters.spend)
        client = BitrixClient(
            http,
            clock,
            store,
            refresher,
            verifier,
            limiters.of,
            on_request=recorder.add,
            correlation=logs.correlation_id.get,
        )
        pbx = UnitalkClient(http, clock, settings.unitalk_api_url, on_request=recorder.add)

        def nudge(portal: str) -> None:
            worker.nudge(portal)

        watch = Watch(store, clock, nudge)
        directory = Directory(store, client, clock)
        source = RecordingSource(settings.unitalk_recording_hosts, settings.allow_loopback)
        spool = spool_beside(database_url)
        drive = Drive(client)
        filing = Filing(http, client, drive, clock, spool, source, watch.fetched)
        addresses = Addresses(events=f"{base_url}/bitrix/events", app=f"{base_url}/bitrix/app")
        lines = Lines(store, clock)
        upkeep = Upkeep(store, clock, client, refresher, directory, lines, pbx, addresses)
        owners = Owners(client, directory, clock)
        records, moving = Records(store, client), Moving(client)
        starting = Starting(store, clock, pbx, directory, owners)

        async def available(portal: Portal) -> list[str] | None:
            if not portal.tells_statuses:
                return None
            return [agent.extension for agent in await store.available_agents(portal.member_id)]

        def pace(portal: Portal) -> None:
            pbx.pace(portal.unitalk_key, portal.settings.pbx_requests_per_second)

        desk = Desk(new_call_id)
        reconciler, outages = Reconciler(store, clock, pbx, desk, nudge), Outages(store, clock, nudge)
        rooms: list[Room] = [
            Cards(store, client, directory, owners, clock),
            starting,
            StatusRoom(store, pbx, clock),
            AgentsRound(store, client, clock),
            Dialing(store, clock, pbx, available),
            Wishing(store, clock, client),
            Reconciling(store, clock, reconciler, outages),
            Comparing(store, clock, client, desk),
            LedgerFiling(store, clock, drive),
        ]
        outbox = Outbox(client, directory, owners, lines, filing, moving, upkeep, clock, records, rooms, pace)

        def forget(portal: str) -> None:
            refresher.forget(portal)
            directory.forget(portal)
            lines.forget(portal)
            watch.forget(portal)

        intake = Intake(store, clock, nudge, forget, watch=watch.saw, desk=desk)
        hearers = Hearers(
            Calls(desk), {AGENT: AgentHearer(), "campaign": CampaignLanes(), "batch": BatchLanes()}
        )
        chance = random.Random()  # noqa: S311 - jitter needs no secrecy
        worker = Worker(
            store,
            clock,
            intake,
            lambda portal: PortalLanes(portal, store, outbox, clock, chance, hearers),
            lambda: filing.tick(clock.now()),
        )
        prefill = Prefill(
            settings.unitalk_portal,
            settings.unitalk_api_key.get_secret_value(),
            settings.unitalk_webhook_token.get_secret_value(),
            settings.unitalk_timezone,
        )
        deps = WebDeps(
            settings=settings,
            store=store,
            clock=clock,
            verifier=verifier,
            intake=intake,
            portals=Portals(store, clock, nudge, forget, prefill),
            signer=SessionSigner(settings.secret_keys, clock),
            nudge=nudge,
            worker_alive=lambda: worker.alive,
        )
        web = asgi(deps)

        await outages.began()
        running = [
            asyncio.create_task(outages.run(), name="heartbeat"),
            asyncio.create_task(worker.run(), name="worker"),
            asyncio.create_task(recorder.run(), name="recorder"),
            asyncio.create_task(watch.run(), name="watch"),
        ]
        try:
            yield House(web, store, worker, clock, reconciler)
        finally:
            await worker.stop()
            for task in running:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            with contextlib.suppress(StoreUnavailable):  # counts only; what is found is written at once
                await watch.turn(last=True)
            await recorder.flush(clean=True)


async def run_server(settings: Settings, host: str, port: int) -> None:
    """`serve`: until SIGINT or SIGTERM, then stop gracefully."""
    logs.setup(settings.log_level, settings.log_format)
    if settings.idle:
        logger.warning("set, but not used by this version yet: {}", ", ".join(settings.idle))
    sock = listen(host, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(compose(settings))
        reconcile = ReconcileCommand(house.store, house.clock, house.reconciler)
        path = sqlite_path(settings.database_url.get_secret_value())
        await stack.enter_async_context(listening(path, {"reconcile": reconcile.run}))
        address = await stack.enter_async_context(serving(house.asgi, sock))
        logger.info("serving {} at {}", settings.app_base_url, address)
        await stop.wait()
        logger.info("stopping: what is in flight is finished first")


async def run_reconcile(settings: Settings, wish: Wish, progress: Say) -> Mapping[str, Any]:
    """`reconcile`: by the running server, which has the store open; else by ourselves, without delivering
    anything: what is owed then goes out when the server starts. Raises `control.CommandRefused`.
    """
    logs.setup("CRITICAL", "text")  # what is found is in the report
    database_url = settings.database_url.get_secret_value()
    path = sqlite_path(database_url)
    with contextlib.suppress(NobodyThere):
        return await ask(path, wish.request(), progress)
    if not path.exists():
        raise CommandRefused(f"There is no database at {path} yet: start the server first.")
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = await open_store(database_url, SecretVault(",".join(settings.secret_keys)), clock)
        stack.push_async_callback(store.close)
        http = HttpGateway(allow_loopback=settings.allow_loopback)
        stack.push_async_callback(http.close)
        pbx = UnitalkClient(http, clock, settings.unitalk_api_url)
        reconciler = Reconciler(store, clock, pbx, Desk(new_call_id))
        return await ReconcileCommand(store, clock, reconciler).run(wish.request(), progress)


async def run_migrate(settings: Settings) -> None:
    """`migrate`: opening the store brings its schema up to date."""
    logs.setup(settings.log_level, settings.log_format)
    vault = SecretVault(",".join(settings.secret_keys))
    store = await open_store(settings.database_url.get_secret_value(), vault, SystemClock())
    status = await store.status()
    await store.close()
    logger.info("the schema is at version {}", status.get("schema"))


async def run_check(settings: Settings, wanted: str) -> Report:
    """`check`: look, ask, report; nothing is changed, and a running server is not disturbed."""
    logs.setup("CRITICAL", "text")  # what is found is in the report
    clock = SystemClock()
    looked: Looked | str
    try:
        path = sqlite_path(settings.database_url.get_secret_value())
        looked = await look_at(path, SecretVault(",".join(settings.secret_keys)), clock, KINDS)
    except StoreUnavailable as refusal:
        looked = refusal.reason
    http = HttpGateway(allow_loopback=settings.allow_loopback)
    try:
        pbx = UnitalkClient(http, clock, settings.unitalk_api_url)
        return await Check(settings, http, clock, pbx).run(looked, wanted)
    finally:
        await http.close()
