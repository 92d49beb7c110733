"""Databases of the fault tests lie in memory where the machine has such a place: nobody cuts its power."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not MEMORY.is_dir():
        yield tmp_path_factory.mktemp("house")
        return
    folder = Path(tempfile.mkdtemp(prefix="unitalk-faults-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder)
