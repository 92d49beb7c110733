"""Which call an event belongs to: ids may be used again, the lasting one decides."""

from dataclasses import replace

from bitrix_app.core.call import Call
from bitrix_app.core.correlate import match, needs_client
from bitrix_app.core.events import Direction, Facts
from bitrix_app.core.lifecycle import Phase
from tests.core.calls import CLIENT, NOW

CALL = Call("c1", "p1", NOW, pbx_id="10", pbx_dbid="77", number=CLIENT, started_at=NOW, phase=Phase.ENDED)
LIVE = replace(CALL, pbx_dbid=None, phase=Phase.TALKING)


def test_the_lasting_id_joins_whatever_the_rest_says() -> None:
    assert match(Facts(pbx_id="99", pbx_dbid="77", started_at=NOW + 9999), [CALL], NOW) is CALL


def test_two_lasting_ids_are_two_calls() -> None:
    assert match(Facts(pbx_id="10", pbx_dbid="78", started_at=NOW), [CALL], NOW) is None


def test_the_live_id_joins_near_the_same_start() -> None:
    assert match(Facts(pbx_id="10", started_at=NOW + 4), [CALL], NOW) is CALL
    assert match(Facts(pbx_id="10", pbx_dbid="77", started_at=NOW), [LIVE], NOW) is LIVE


def test_a_live_id_used_again_is_another_call() -> None:
    assert match(Facts(pbx_id="10", started_at=NOW + 600, number=CLIENT), [CALL], NOW + 600) is None
    other = Facts(pbx_id="10", started_at=NOW + 600, number="+380670000099")
    assert match(other, [LIVE], NOW + 600) is None


def test_an_event_without_a_start_joins_a_recent_call_only() -> None:
    assert match(Facts(pbx_id="10"), [LIVE], NOW + 60) is LIVE
    assert match(Facts(pbx_id="10"), [LIVE], NOW + 4 * 3600) is None


def test_a_live_call_whose_start_was_corrected_stays_one_call() -> None:
    assert match(Facts(pbx_id="10", started_at=NOW + 20, number=CLIENT), [LIVE], NOW + 25) is LIVE


NAMELESS = replace(LIVE, pbx_id=None, line="380440000001", direction=Direction.IN)


def test_a_call_without_ids_is_known_by_its_line_client_and_start() -> None:
    facts = Facts(number=CLIENT, line="380440000001", started_at=NOW + 4)
    assert match(facts, [NAMELESS], NOW + 60) is NAMELESS
    assert match(replace(facts, started_at=NOW + 6), [NAMELESS], NOW + 60) is None
    assert match(replace(facts, line="380440000002"), [NAMELESS], NOW + 60) is None
    assert match(replace(facts, number="+380670000099"), [NAMELESS], NOW + 60) is None
    assert match(replace(facts, direction=Direction.OUT), [NAMELESS], NOW + 60) is None


def test_ids_that_differ_are_never_overruled_by_the_client() -> None:
    facts = Facts(pbx_id="11", number=CLIENT, started_at=NOW)
    assert match(facts, [LIVE], NOW) is None
    assert match(facts, [NAMELESS], NOW) is NAMELESS, "one without an id may be the same"
    assert match(Facts(pbx_dbid="78", number=CLIENT, started_at=NOW), [CALL], NOW) is None


def test_without_a_start_only_the_one_living_call_of_the_client_can_be_meant() -> None:
    facts = Facts(number=CLIENT)
    assert match(facts, [NAMELESS], NOW + 60) is NAMELESS
    assert match(facts, [NAMELESS, replace(NAMELESS, id="c2")], NOW + 60) is None
    assert match(facts, [replace(NAMELESS, phase=Phase.ENDED)], NOW + 60) is None
    assert match(facts, [NAMELESS], NOW + 4 * 3600) is None


def test_the_client_is_asked_for_only_where_ids_may_not_be_enough() -> None:
    assert needs_client(Facts(number=CLIENT))
    assert needs_client(Facts(number=CLIENT, pbx_id="1", dialer_id="77"))
    assert needs_client(Facts(number=CLIENT, pbx_id="1", source="autodial"))
    assert not needs_client(Facts(number=CLIENT, pbx_id="1", source="REGULAR"))
    assert not needs_client(Facts())
