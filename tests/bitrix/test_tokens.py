"""Refreshing: once, stored first, and by another administrator when one falls away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from bitrix_app.core.errors import (
    AnswerLost,
    NeedsReauth,
    NotSent,
    PaymentNeeded,
    PortalGone,
    PortalPaused,
    Throttled,
    Trouble,
    Unavailable,
)
from bitrix_app.core.portal import PortalState
from bitrix_app.core.ports import HttpRequest, HttpResponse
from bitrix_app.core.store import StoreUnavailable
from tests.bitrix.fakes import MEMBER, NOW, SECRET, House, pair, query_of, response, token_answer

pytestmark = pytest.mark.anyio


def _by_refresh(
    answers: dict[str, HttpResponse | Trouble],
) -> Callable[[HttpRequest], HttpResponse | Trouble]:
    return lambda request: answers[query_of(request)["refresh_token"]]


async def test_a_pair_whose_hour_is_not_over_is_not_refreshed() -> None:
    house = House(lambda _: token_answer())
    assert (await house.refresher.token(house.portal)).access == "access-1"
    assert house.http.sent == []


async def test_twenty_waiters_make_one_refresh_and_all_get_the_new_pair() -> None:
    old = pair()
    house = House(lambda _: token_answer(), old)
    got = await asyncio.gather(*(house.refresher.refresh(house.portal, old) for _ in range(20)))
    assert {p.access for p in got} == {"access-1-2"}
    assert len(house.http.sent) == 1
    assert house.store.stored[0].generation == 2
    late = await house.refresher.refresh(house.portal, old)
    assert late.access == "access-1-2"
    assert len(house.http.sent) == 1


async def test_an_expired_pair_is_refreshed_before_its_first_use_once() -> None:
    house = House(lambda _: token_answer(), pair(expires_in=-1))
    got = await asyncio.gather(*(house.refresher.token(house.portal) for _ in range(20)))
    assert {p.access for p in got} == {"access-1-2"}
    assert len(house.http.sent) == 1


async def test_the_request_is_the_contracts_and_goes_to_an_allowed_server_only() -> None:
    house = House(lambda _: token_answer(), auth_server="https://oauth.evil.com")
    await house.refresher.refresh(house.portal, pair())
    (request,) = house.http.sent
    assert request.url.startswith("https://oauth.bitrix24.tech/oauth/token/?grant_type=refresh_token&")
    assert query_of(request)["client_secret"] == SECRET
    assert query_of(request)["refresh_token"] == "refresh-1"


async def test_the_new_pair_is_stored_before_anybody_may_use_it() -> None:
    house = House(lambda _: token_answer())
    house.store.fail = [StoreUnavailable("disk full")]
    with pytest.raises(StoreUnavailable):
        await house.refresher.refresh(house.portal, pair())
    assert house.store.stored == [pair()]
    again = await house.refresher.refresh(house.portal, pair())
    assert again.access == "access-1-2"
    assert house.store.stored == [again]
    assert len(house.http.sent) == 1, "the rotated pair was kept, not asked for twice"


async def test_leaving_between_the_answer_and_the_swap_loses_nothing() -> None:
    arrived = asyncio.Event()
    go_on = asyncio.Event()

    async def slow() -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return token_answer()

    house = House(lambda _: slow())
    leaving = asyncio.ensure_future(house.refresher.refresh(house.portal, pair()))
    await arrived.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    next_one = asyncio.ensure_future(house.refresher.refresh(house.portal, pair()))
    await asyncio.sleep(0)
    go_on.set()
    assert (await next_one).access == "access-1-2"
    await house.refresher.aclose()
    assert house.store.stored[0].generation == 2
    assert len(house.http.sent) == 1


async def test_the_next_administrator_takes_over_and_nobody_means_needs_reauth() -> None:
    house = House(
        _by_refresh(
            {
                "refresh-1": response("oauth.error.invalid-grant"),
                "refresh-2": token_answer(2),
                "refresh-2-2": response("oauth.error.invalid-grant"),
            }
        ),
        pair(1),
        pair(2, expires_in=-5, age=10),
        pair(3, is_admin=False),
    )
    second = await house.refresher.refresh(house.portal, pair(1))
    assert second.user_id == 2
    assert [p.user_id for p in house.store.stored] == [2, 3]
    with pytest.raises(NeedsReauth):
        await house.refresher.refresh(house.portal, second)
    assert house.store.saved[MEMBER].state is PortalState.NEEDS_REAUTH
    with pytest.raises(NeedsReauth):
        await house.refresher.token(house.portal)
    healed = pair(4)
    house.store.stored.append(healed)
    assert await house.refresher.token(house.portal) == healed


async def test_another_administrators_living_pair_is_used_as_it_is() -> None:
    house = House(lambda _: response("oauth.error.invalid-grant"), pair(1), pair(2, age=10))
    assert (await house.refresher.refresh(house.portal, pair(1))).access == "access-2"
    assert len(house.http.sent) == 1


async def test_a_revoked_user_is_replaced_without_asking() -> None:
    house = House(lambda _: token_answer(), pair(1), pair(2, age=10))
    assert (await house.refresher.revoke(house.portal, pair(1))).user_id == 2
    assert [p.user_id for p in house.store.stored] == [2]
    assert house.http.sent == []


@pytest.mark.parametrize(
    ("name", "trouble", "state"),
    [
        ("payment-required", PaymentNeeded, PortalState.SUSPENDED),
        ("not-installed", PortalGone, PortalState.SUSPENDED),
        ("invalid-client", PortalPaused, PortalState.ACTIVE),
        ("wrong-client", PortalPaused, PortalState.ACTIVE),
        ("invalid-request", PortalPaused, PortalState.ACTIVE),
    ],
)
async def test_other_verdicts_pause_the_portal_and_kill_no_pair(
    name: str, trouble: type[Trouble], state: PortalState
) -> None:
    house = House(lambda _: response(f"oauth.error.{name}"))
    with pytest.raises(trouble) as met:
        await house.refresher.refresh(house.portal, pair())
    assert type(met.value) is trouble
    assert house.store.saved[MEMBER].state is state
    assert house.store.stored == [pair()]


async def test_the_other_server_is_asked_only_when_nothing_was_sent() -> None:
    def script(request: HttpRequest) -> HttpResponse | Trouble:
        return NotSent("refused") if "bitrix24.tech" in request.url else token_answer()

    house = House(script)
    assert (await house.refresher.refresh(house.portal, pair())).generation == 2
    assert ["tech" in r.url for r in house.http.sent] == [True, False]

    nobody = House(lambda _: NotSent("refused"))
    with pytest.raises(Unavailable):
        await nobody.refresher.refresh(nobody.portal, pair())
    assert nobody.store.stored == [pair()]


async def test_a_lost_answer_is_asked_for_once_more_by_the_same_pair() -> None:
    told: list[HttpResponse | Trouble] = [AnswerLost("timeout"), response("oauth.error.invalid-grant")]
    answers = iter(told)
    house = House(lambda _: next(answers))
    with pytest.raises(NeedsReauth):
        await house.refresher.refresh(house.portal, pair())
    assert [query_of(r)["refresh_token"] for r in house.http.sent] == ["refresh-1"] * 2

    broken = House(lambda _: HttpResponse(502, {}, b"<html>"))
    with pytest.raises(Unavailable):
        await broken.refresher.refresh(broken.portal, pair())
    assert len(broken.http.sent) == 2
    assert broken.store.stored == [pair()]


async def test_a_throttled_auth_server_is_a_limit() -> None:
    house = House(lambda _: response("rest.error.query-limit-exceeded"))
    with pytest.raises(Throttled):
        await house.refresher.refresh(house.portal, pair())


async def test_a_pair_of_another_portal_is_not_taken() -> None:
    house = House(lambda _: token_answer(member_id="f" * 32))
    with pytest.raises(PortalPaused):
        await house.refresher.refresh(house.portal, pair())
    assert house.store.stored == [pair()]


async def test_another_process_was_faster() -> None:
    house = House(lambda _: token_answer())
    theirs = pair(1, access="theirs")

    def script(_: HttpRequest) -> HttpResponse:
        house.store.stored = [theirs.__class__(MEMBER, 1, "theirs", "r9", NOW + 99, True, NOW, generation=2)]
        return token_answer()

    house.http.script = script
    assert (await house.refresher.refresh(house.portal, pair())).access == "theirs"


async def test_an_idle_pair_can_be_refreshed_beside_a_living_one() -> None:
    house = House(lambda _: token_answer(2), pair(1), pair(2, age=10))
    assert (await house.refresher.refresh(house.portal, pair(2))).user_id == 2
    assert {p.access for p in house.store.stored} == {"access-1", "access-2-2"}
    assert len(await house.refresher.pairs(house.portal)) == 2
