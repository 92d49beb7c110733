"""A Unix socket beside the database, by which a command asks the running server (design.md §7).

The store belongs to one process; a command that needs it while the server runs sends one line of JSON and
reads lines back: `{"progress": …}` any number of times, then `{"result": …}` or `{"error": "…"}`. Only the
user who runs the server may open the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from loguru import logger

LONGEST_LINE: Final = 4 * 1024 * 1024
CUT_SHORT: Final = "The server went away before it was done. Ask again: nothing is done twice."
LONGEST_PATH: Final = 100
"""Bytes of a socket's path; the system's limit is a little above."""

Say = Callable[[Mapping[str, Any]], None]
Handler = Callable[[Mapping[str, Any], Say], Awaitable[Mapping[str, Any]]]
"""Does what a request asks; may tell its progress; raises `CommandRefused` with words for the caller."""


class CommandRefused(Exception):
    """The server does not do it; the words are for whoever typed the command."""


class NobodyThere(Exception):
    """No server listens: the command may open the store itself."""


def socket_beside(database: Path) -> Path:
    return database.with_name(database.name + ".sock")


@asynccontextmanager
async def listening(database: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer commands while the server runs. Without a usable path the server runs all the same."""
    path = socket_beside(database)
    if len(os.fsencode(path.absolute())) > LONGEST_PATH:
        logger.warning("commands cannot ask this server: the path {} is too long for a socket", path)
        yield
        return
    path.unlink(missing_ok=True)  # the store's lock says that no other server of ours is alive

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(reader, writer, handlers)
        except (ConnectionError, ValueError):
            logger.debug("a command went away in the middle")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(serve, path, limit=LONGEST_LINE)
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]
) -> None:
    def write(kind: str, value: Any) -> None:
        writer.write(json.dumps({kind: value}).encode() + b"\n")

    request = json.loads(await reader.readline())
    handler = handlers.get(str(request.get("command"))) if isinstance(request, dict) else None
    if handler is None:
        write("error", "The running server does not know this command; it is of another version.")
    else:
        try:
            write("result", await handler(request, lambda progress: write("progress", progress)))
        except CommandRefused as refused:
            write("error", str(refused))
        except Exception as bug:  # noqa: BLE001 - the caller must hear that it failed
            logger.opt(exception=bug).error("a command failed by our own fault")
            write("error", "The server failed at it by its own fault; its log has the details.")
    await writer.drain()


async def ask(database: Path, request: Mapping[str, Any], progress: Say) -> Mapping[str, Any]:
    """Ask the server that has this database open. Raises `NobodyThere`, `CommandRefused` with its words."""
    path = socket_beside(database)
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
    except (FileNotFoundError, ConnectionRefusedError) as gone:
        raise NobodyThere from gone
    except OSError as other:
        raise CommandRefused(f"The running server cannot be asked: {other.strerror or other}") from other
    try:
        writer.write(json.dumps(dict(request)).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            told = json.loads(line)
            if "progress" in told:
                progress(told["progress"])
            elif "error" in told:
                raise CommandRefused(str(told["error"]))
            else:
                result: Mapping[str, Any] = told["result"]
                return result
    except ConnectionError as lost:
        raise CommandRefused(
            "The server went away before it was done. Ask again: nothing is done twice."
        ) from lost
    finally:
        writer.close()
    raise CommandRefused(CUT_SHORT)
