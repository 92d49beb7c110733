"""One process on a database file: a lock file beside it, held for life."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from storage.refusals import StoreLocked, StoreRefused


class FileLock:
    """`flock` dies with its process, so a crash leaves nothing to clean up. The file stays: removing
    it would let two processes lock two different files of one name."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._database = database
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises `StoreLocked` at once when another process has it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreRefused(
                f"{self._path} cannot be written: {error.strerror}; check its rights"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreLocked(
                f"{self._database} is in use by process {holder}; stop it, "
                "or use PostgreSQL for several processes"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
