"""An administrator sees which rights are missing, what for, and what works without them."""

import pytest
from httpx import AsyncClient

from bitrix_app.core.abilities import WANTED
from bitrix_app.core.portal import Snapshot
from bitrix_app.web.abilities_view import WORDS
from bitrix_app.web.session import Role
from tests.web.fakes import MEMBER, Stage, portal

pytestmark = pytest.mark.anyio
HTML = {"Accept": "text/html"}
ALL = tuple(group[0] for group in WANTED)


def test_each_right_that_we_use_has_its_words() -> None:
    assert list(WORDS) == list(ALL)
    assert all(used and without for used, without in WORDS.values())


async def test_settings_tell_every_right_and_when_it_was_asked_for(web: AsyncClient, st: Stage) -> None:
    st.store.portals_[MEMBER] = portal(scope=("telephony", "crm", "user"))
    item = {"crm_mode": "simple", "license_family": "pro", "missing_placements": ["REST_APP_URI"]}
    st.store.snapshots["abilities"] = Snapshot("abilities", st.clock.now(), (item,))
    told = (await web.get("/settings", headers=st.session())).json()["abilities"]
    assert [row["scope"] for row in told["scopes"]] == list(ALL)
    missing = {row["scope"] for row in told["scopes"] if not row["granted"]}
    assert missing == {"placement", "im", "disk"}, "a wider user right counts"
    assert (told["crm_mode"], told["license_family"]) == ("simple", "pro")
    assert (told["missing_placements"], told["missing_events"]) == (["REST_APP_URI"], [])
    assert told["checked_at"].endswith("Z")


async def test_before_the_portal_was_asked_nothing_counts_as_missing(web: AsyncClient, st: Stage) -> None:
    told = (await web.get("/settings", headers=st.session())).json()["abilities"]
    assert told["checked_at"] is None
    assert all(row["granted"] for row in told["scopes"])


async def test_the_overview_names_only_what_is_missing_and_only_to_administrators(
    web: AsyncClient, st: Stage
) -> None:
    whole = (await web.get("/bitrix/app", headers=st.session() | HTML)).text
    assert "did not grant" not in whole
    st.store.portals_[MEMBER] = portal(scope=tuple(one for one in ALL if one != "disk"))
    page = (await web.get("/bitrix/app", headers=st.session() | HTML)).text
    assert "did not grant" in page
    assert WORDS["disk"][1] in page
    assert WORDS["im"][1] not in page
    agents = (await web.get("/bitrix/app", headers=st.session(Role.AGENT) | HTML)).text
    assert "did not grant" not in agents
