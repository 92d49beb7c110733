"""Shared by all tests: the event loop's backend."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
