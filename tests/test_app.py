"""What the start refuses, in words."""

from pathlib import Path

import pytest

from bitrix_app.app import compose
from bitrix_app.core.store import StoreUnavailable
from bitrix_app.gateway import HttpGateway
from bitrix_app.settings import Settings
from tests.house.making import portal

pytestmark = pytest.mark.anyio
FIRST, SECOND = "k3y-of-the-tests-0123456789abcdefghij", "an0ther-key-of-9876543210-zyxwvutsrqp"


def settings(folder: Path, keys: str) -> Settings:
    return Settings.model_validate(
        {
            "app_base_url": "https://calls.example.com",
            "app_secret_keys": keys,
            "database_url": f"sqlite:///{folder}/unitalk.db",
            "bitrix_client_id": "local.1.2",
            "bitrix_client_secret": "secret-of-the-card",
        }
    )


async def test_a_key_that_was_taken_away_too_early_is_said_and_can_be_put_back(tmp_path: Path) -> None:
    http = HttpGateway()
    async with compose(settings(tmp_path, FIRST), http=http) as house:
        await house.store.transact(lambda unit: unit.save_portal(portal(unitalk_key="pbx-key-123456")))
    with pytest.raises(StoreUnavailable, match="Put the earlier key back into APP_SECRET_KEYS"):
        async with compose(settings(tmp_path, SECOND), http=http):
            pass
    async with compose(settings(tmp_path, f"{SECOND},{FIRST}"), http=http) as house:
        (known,) = await house.store.portals()
        assert known.unitalk_key == "pbx-key-123456"
    await http.close()
