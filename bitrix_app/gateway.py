"""The only way out of the process, and the only module that knows httpx.

httpx 0.28 loses a pool slot for good when a request is cancelled at the wrong moment, until no slot is
left and every request ends in `PoolTimeout` (pages-and-traps.md §0). Therefore each request runs in a
task of its own that nobody cancels, behind a semaphore smaller than the pool, limited by httpx's own
timeouts; and a `PoolTimeout` means «this client is broken»: it is replaced, the old one closed as soon
as its last request is over.

No text raised here holds an address: paths and queries carry tokens and recording links.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import httpx

from bitrix_app.core.addresses import DEFAULT_PORTS, Url, forbidden, is_loopback_host, read_url
from bitrix_app.core.errors import AnswerLost, NotSent, Refused, Trouble, Unavailable
from bitrix_app.core.ports import Download, FilePart, HttpRequest, HttpResponse

T = TypeVar("T")
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of an answer that `send` reads; no method of either vendor comes near."""
HEAD: Final = 512
POOL_TIMEOUT: Final = 10.0
"""Seconds for a free connection. The semaphore is smaller than the pool: none free means it is broken."""
PATIENCE: Final = 4.0
"""A request may last this many times its timeout: no other limit ends an answer of a byte a second."""
UPLOAD_PATIENCE: Final = 1800.0
"""Seconds more for a request with files."""
MAX_DOWNLOADS: Final = 8
MAX_ADDRESSES: Final = 4

_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_BROKEN: Final = (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError)
"""Anything else on the way; RuntimeError is what uvloop says of a transport that was closed."""


@dataclass(slots=True)
class _Flight:
    """What a request's task and its waiting caller know of each other."""

    began: bool = False
    abandoned: bool = False


@dataclass(slots=True)
class _Generation:
    """One httpx client and how many requests are using it."""

    client: httpx.AsyncClient
    in_flight: int = 0
    retired: bool = False


class _Pool:
    """A client behind a semaphore, replaced when it is broken."""

    def __init__(self, make: Callable[[], httpx.AsyncClient], slots: int) -> None:
        self._make = make
        self._slots = asyncio.Semaphore(slots)
        self._now: _Generation | None = None
        self.rebuilt = 0

    @asynccontextmanager
    async def client(self, flight: _Flight) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request. Raises `NotSent` when the caller left before its turn came."""
        async with self._slots:
            if flight.abandoned:
                raise NotSent("Nobody waited for this request any more")
            flight.began = True
            if self._now is None:
                self._now = _Generation(self._make())
            generation = self._now
            generation.in_flight += 1
            try:
                yield generation.client
            except httpx.PoolTimeout:
                if self._now is generation:  # whoever comes first replaces it, the others only leave it
                    self._now = None
                    self.rebuilt += 1
                    generation.retired = True
                raise
            finally:
                generation.in_flight -= 1
                if generation.retired and not generation.in_flight:
                    await generation.client.aclose()

    async def close(self) -> None:
        if self._now is not None:
            await self._now.client.aclose()
            self._now = None


class HttpGateway:
    """`core.ports.Http` over httpx. Close it; after that it must not be used.

    `allow_loopback` opens plain http and loopback addresses (tests and the demo). `resolve` turns a
    host into addresses, `verify` holds the trusted certificates; both are there for tests.
    """

    def __init__(
        self,
        allow_loopback: bool = False,
        max_connections: int = 100,
        *,
        max_answer: int = MAX_ANSWER,
        pool_timeout: float = POOL_TIMEOUT,
        verify: ssl.SSLContext | None = None,
        resolve: Resolver | None = None,
    ) -> None:
        for name in ("httpx", "httpcore"):  # at INFO httpx writes every URL into the log
            logging.getLogger(name).setLevel(logging.WARNING)
        self._allow_loopback = allow_loopback
        self._max_answer = max_answer
        self._pool_timeout = pool_timeout
        self._resolve = resolve or _resolve
        self._tls = verify or httpx.create_ssl_context(trust_env=False)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._requests = _Pool(lambda: self._client(max_connections, 20), max(1, max_connections * 4 // 5))
        # No kept connections here: httpx knows them by address and port alone, not by the name that
        # the certificate was checked for.
        self._downloads = _Pool(lambda: self._client(MAX_DOWNLOADS * 2, 0), MAX_DOWNLOADS)

    @property
    def rebuilt(self) -> int:
        """How often a client was found broken and replaced."""
        return self._requests.rebuilt + self._downloads.rebuilt

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `core.ports.Http`. Nothing but https leaves, or http to loopback where that is allowed.

        Raises `NotSent`, `AnswerLost` (also, with the code ANSWER_TOO_LARGE, when the answer is larger
        than `max_answer`: the effect is there, only the words are not), and `Refused` for a request
        that cannot be made: a bad address, a bad header, a missing file.
        """
        self._check_scheme(request.url)
        flight = _Flight()
        patience = request.timeout * PATIENCE + (UPLOAD_PATIENCE if request.files else 0.0)
        late = AnswerLost("The answer took too long", code="ANSWER_TOO_SLOW")
        return await self._fly(self._send(request, flight), flight, patience, late)

    async def download(
        self, request: HttpRequest, target: Path, *, max_bytes: int, max_seconds: float
    ) -> Download:
        """See `core.ports.Http`. Raises `NotSent` when no address could be reached."""
        self._check_scheme(request.url)
        flight = _Flight()
        late = Unavailable("The download took too long", code="TOO_SLOW")
        flown = False
        try:
            done = await self._fly(
                self._download(request, target, max_bytes, max_seconds, flight), flight, max_seconds, late
            )
            flown = True
            return done
        finally:
            if not flown:
                _remove(target)

    async def close(self, patience: float = 10.0) -> None:
        """Wait `patience` seconds for what is in flight, then close every connection."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        for task in tuple(self._tasks):
            task.cancel()  # only here: the pool that this may harm is at its end
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._requests.close()
        await self._downloads.close()

    # --- tasks that nobody cancels ---------------------------------------------------------------

    async def _fly(self, work: Coroutine[Any, Any, T], flight: _Flight, patience: float, late: Trouble) -> T:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._landed)
        try:
            # `wait` neither cancels at its timeout nor when its caller is cancelled.
            await asyncio.wait({task}, timeout=patience)
        except asyncio.CancelledError:
            flight.abandoned = True
            raise
        if task.done():
            return task.result()
        flight.abandoned = True
        raise late if flight.began else NotSent("No connection became free in time")

    def _landed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # an abandoned request's trouble is nobody's: do not warn of it

    async def _send(self, request: HttpRequest, flight: _Flight) -> HttpResponse:
        with ExitStack() as opened:
            files = [(part.field, await _opened(part, opened)) for part in request.files]
            try:
                async with self._requests.client(flight) as client:
                    built = _build(client, request, request.url, {}, self._timeout(request), files)
                    async with _streamed(client, built) as answer:
                        body = await self._read(answer, flight)
                        return HttpResponse(answer.status_code, _headers(answer), body)
            except _NOT_SENT as trouble:
                raise _no_connection(trouble) from None
            except _BROKEN as trouble:
                raise AnswerLost(f"The connection broke ({type(trouble).__name__})") from None

    async def _read(self, answer: httpx.Response, flight: _Flight) -> bytes:
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > self._max_answer:
                raise AnswerLost("The answer is larger than we read", code="ANSWER_TOO_LARGE")
            if flight.abandoned:
                raise AnswerLost("Nobody waited for the answer any more")
        return bytes(body)

    # --- downloads ---------------------------------------------------------------------------------

    async def _download(
        self, request: HttpRequest, target: Path, max_bytes: int, max_seconds: float, flight: _Flight
    ) -> Download:
        ends = asyncio.get_running_loop().time() + max_seconds
        place = read_url(request.url)
        addresses = await self._public_addresses(place)
        trouble: Trouble = NotSent("The name of the server has no address")
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await self._download_from(address, place, request, target, max_bytes, ends, flight)
            except NotSent as refused:
                trouble = refused
            except _BROKEN as broken:
                raise Unavailable(f"The download was cut short ({type(broken).__name__})") from None
        raise trouble

    async def _download_from(
        self,
        address: str,
        place: Url,
        request: HttpRequest,
        target: Path,
        max_bytes: int,
        ends: float,
        flight: _Flight,
    ) -> Download:
        loop = asyncio.get_running_loop()
        try:
            async with self._downloads.client(flight) as client:
                # The very address that was checked: the name is not asked again, so it cannot answer
                # differently. Host header, SNI and certificate stay the name's. Bytes come unpacked.
                headers = {"Host": _host_header(place), "Accept-Encoding": "identity"}
                timeout = self._timeout(request, most=ends - loop.time())
                built = _build(client, request, _pinned(request.url, address), headers, timeout, [])
                built.extensions["sni_hostname"] = place.host
                async with _streamed(client, built) as answer:
                    if answer.status_code != 200:
                        head = await _head(answer)
                        return Download(answer.status_code, _headers(answer), 0, head)
                    size, head = await _to_file(answer, target, max_bytes, ends, flight)
                    return Download(200, _headers(answer), size, head)
        except _NOT_SENT as trouble:
            raise _no_connection(trouble) from None

    async def _public_addresses(self, place: Url) -> Sequence[str]:
        try:
            addresses = await self._resolve(place.host, place.port)
        except (OSError, UnicodeError):  # the second for names that no resolver would take
            raise NotSent("The name of the server could not be resolved") from None
        for address in addresses:
            reason = forbidden(address, allow_loopback=self._allow_loopback)
            if reason is not None:
                raise Refused(f"The server's address is not a public one: {reason}", code="FORBIDDEN_ADDRESS")
        return addresses

    # --- small things --------------------------------------------------------------------------------

    def _check_scheme(self, url: str) -> None:
        try:
            place = read_url(url)
        except ValueError as wrong:
            raise Refused(f"Not sent: {wrong}", code="BAD_ADDRESS") from None
        if place.scheme != "https" and not (self._allow_loopback and is_loopback_host(place.host)):
            raise Refused("Only https is spoken to other machines", code="PLAIN_HTTP")

    def _timeout(self, request: HttpRequest, most: float = float("inf")) -> httpx.Timeout:
        seconds = max(0.001, min(request.timeout, most))
        return httpx.Timeout(seconds, pool=self._pool_timeout)

    def _client(self, connections: int, kept: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=self._tls,
            trust_env=False,  # no proxies, no .netrc from the environment
            follow_redirects=False,
            limits=httpx.Limits(
                max_connections=connections, max_keepalive_connections=kept, keepalive_expiry=5.0
            ),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # portals share this client
            headers={"User-Agent": "unitalk-bitrix24"},
        )


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _no_connection(trouble: Exception) -> NotSent:
    return NotSent(f"No connection could be made ({type(trouble).__name__})")


def _host_header(place: Url) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return host if place.port == DEFAULT_PORTS[place.scheme] else f"{host}:{place.port}"


def _pinned(url: str, address: str) -> str:
    """The same URL at a numeric address."""
    try:
        return str(httpx.URL(url).copy_with(host=address))
    except httpx.InvalidURL:
        raise Refused("Not sent: the address cannot be read", code="BAD_ADDRESS") from None


async def _opened(part: FilePart, stack: ExitStack) -> tuple[str, IO[bytes], str]:
    try:
        file = await asyncio.to_thread(part.path.open, "rb")
    except OSError:
        raise Refused("The file to upload is not there any more", code="FILE_MISSING") from None
    stack.callback(file.close)
    return part.filename, file, part.content_type


def _build(
    client: httpx.AsyncClient,
    request: HttpRequest,
    url: str,
    headers: dict[str, str],
    timeout: httpx.Timeout,
    files: list[tuple[str, tuple[str, IO[bytes], str]]],
) -> httpx.Request:
    if files and request.body:
        raise Refused("A request has either a body or files", code="BAD_REQUEST")
    try:
        content = None if files else request.body
        headers = {**request.headers, **headers}
        return client.build_request(
            request.method, url, headers=headers, content=content, files=files or None, timeout=timeout
        )
    except (httpx.InvalidURL, ValueError, TypeError):
        raise Refused("The request could not be built", code="BAD_REQUEST") from None


@asynccontextmanager
async def _streamed(client: httpx.AsyncClient, built: httpx.Request) -> AsyncIterator[httpx.Response]:
    answer = await client.send(built, stream=True)
    try:
        yield answer
    finally:
        await answer.aclose()


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


async def _head(answer: httpx.Response) -> bytes:
    head = b""
    async for chunk in answer.aiter_raw():
        head += chunk
        if len(head) >= HEAD:
            break
    return head[:HEAD]


async def _to_file(
    answer: httpx.Response, target: Path, max_bytes: int, ends: float, flight: _Flight
) -> tuple[int, bytes]:
    """Stream the body to `target`; it is removed by whoever waits when this raises."""
    too_large = Refused("The file is larger than we take", code="FILE_TOO_LARGE")
    announced = answer.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > max_bytes:
        raise too_large
    loop = asyncio.get_running_loop()
    size, head = 0, b""
    file: IO[bytes] | None = None
    try:
        async for chunk in answer.aiter_raw():
            if flight.abandoned or loop.time() > ends:
                raise Unavailable("The download took too long", code="TOO_SLOW")
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            head = (head + chunk)[:HEAD] if len(head) < HEAD else head
            file = file or _created(target)
            await asyncio.to_thread(_write, file, chunk)
        if flight.abandoned:
            raise Unavailable("Nobody waited for the download any more")
        file = file or _created(target)
    finally:
        if file is not None:
            file.close()
    return size, head


def _created(target: Path) -> IO[bytes]:
    try:
        return target.open("wb")
    except OSError as full:
        raise _disk(full) from None


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as full:
        raise _disk(full) from None


def _disk(trouble: OSError) -> Unavailable:
    # not a fault of the other side: say so, or an administrator looks in the wrong place
    return Unavailable(f"Our disk did not take the file ({os.strerror(trouble.errno or 0)})", code="DISK")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
