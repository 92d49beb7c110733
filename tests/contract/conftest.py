"""One event loop for all plays."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
