"""What a call says of its owner, and the repair that moves it."""

from dataclasses import replace

from bitrix_app.core.call import Call, pack, unpack
from bitrix_app.core.commands import MoveCall, Notify
from bitrix_app.core.events import Facts, Finished, Moved, PbxReport, Registered, Step
from bitrix_app.core.portal import PortalSettings
from bitrix_app.core.repair import Repair, move, undo, with_extension
from bitrix_app.core.repair import pack as pack_repair
from bitrix_app.core.repair import unpack as unpack_repair
from tests.core.calls import Story, ended, missed, report

REPAIR = Repair("r1", "p1", 1.0, 1, "2099", 13, calls=("c1",), froms=(1,))


def written() -> Story:
    """A call of an unmatched extension, finished."""
    story = Story()
    story.tell(ended("2099", link=None), Registered("x1", 1, "2099", matched=False))
    story.tell(Finished(77, "LEAD", 5, 1, extension="2099", matched=False, by="installer"))
    return story


def test_a_call_that_a_default_user_has_remembers_for_whom() -> None:
    call = written().call
    assert (call.unmatched, call.matched, call.owner_by) == ("2099", False, "installer")
    assert unpack(pack(call)) == call


def test_a_finish_that_found_the_person_ends_the_lack() -> None:
    story = Story()
    story.tell(ended("2099"), Registered("x1", 1, "2099", matched=False))
    assert not story.call.matched
    story.tell(Finished(77, "LEAD", 5, 13, extension="2099", matched=True, by="override"))
    after = story.call
    assert (after.unmatched, after.matched, after.user_id) == (None, True, 13)


def test_an_extension_that_answered_and_is_nobodys_is_told_at_the_finish() -> None:
    story = Story()
    story.tell(ended("2001"), Registered("x1", 11, "2001"))
    assert "notify:unmatched:2099" not in story.owed
    story.tell(Finished(77, "LEAD", 5, 1, extension="2099", matched=False, by="default"))
    assert story.call.unmatched == "2099"
    notice = story.command("notify:unmatched:2099")
    assert isinstance(notice, Notify)
    assert notice.tag == "unmatched:2099"


def test_an_answer_that_cannot_tell_the_owner_changes_nothing() -> None:
    story = Story()
    story.tell(ended("2099"), Registered("x1", 1, "2099", matched=False), Finished(77, "LEAD", 5, 1))
    assert story.call.unmatched == "2099"


def test_why_no_client_was_found_stays_with_the_call() -> None:
    story = Story()
    story.tell(missed("2001"), Registered("x1", 11, "2001", note="No record"))
    story.tell(Finished(77, "LEAD", 5, 11, note="odd", owner_note="nobody is responsible"))
    assert story.call.notes == ("No record", "odd", "nobody is responsible")


def test_why_there_is_no_number_is_noted_once_and_only_while_there_is_none() -> None:
    story = Story()
    hidden = {"number": None, "raw_number": "anonymous", "number_note": "hidden"}
    story.tell(report(Step.NEW, **hidden), report(Step.OFFERED, "2001", **hidden))
    assert story.call.notes == ("hidden",)
    known = Story()
    known.tell(report(Step.NEW), PbxReport(Step.ENDED, Facts(pbx_id="1091001", number_note="none")))
    assert known.call.notes == ()


def test_a_register_without_a_readable_number_still_has_a_lock_on_what_it_says() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001", number=None, raw_number="2345678"))
    assert story.owed["register"].mutex == "number:2345678"


def test_a_register_names_the_group_that_was_known() -> None:
    story = Story()
    story.tell(report(Step.OFFERED, "2001", group="Sales"))
    assert story.command("register").group == "Sales"  # type: ignore[attr-defined]


# --- repair ----------------------------------------------------------------------------------------


def test_a_repair_owes_one_move_and_an_earlier_one_gives_way() -> None:
    step = move(REPAIR, written().call)
    assert step is not None
    (owed,) = step.owed
    assert owed.command == MoveCall("r1", from_user=1, to_user=13, extension="2099")
    assert (owed.key, owed.needs, step.cancel) == ("move:r1", (), ("move_call",))
    assert step.call.repair == "r1"


def test_a_call_that_found_its_person_meanwhile_is_not_moved() -> None:
    assert move(REPAIR, replace(written().call, unmatched=None)) is None
    assert move(REPAIR, replace(written().call, unmatched="2098")) is None
    assert move(REPAIR, replace(written().call, finished=False)) is None


def test_a_moved_call_is_its_new_persons_and_its_document_is_said_again() -> None:
    story = written()
    documents = story.call.documents_owed
    assert documents == 1
    story.call = replace(story.call, repair="r1")
    story.tell(Moved(13, ("ACTIVITY:77", "LEAD:5"), by="override", notes=("odd",)))
    assert (story.call.user_id, story.call.unmatched, story.call.matched) == (13, None, True)
    assert story.call.moved == ("ACTIVITY:77", "LEAD:5")
    assert story.call.owner_by == "override"
    assert "drive_document:2" in story.owed
    assert unpack(pack(story.call)) == story.call


def test_an_undo_gives_back_to_whoever_had_it() -> None:
    story = written()
    first = move(REPAIR, story.call)
    assert first is not None
    story.call = first.call
    story.tell(Moved(13, ("ACTIVITY:77",), by="override"))
    step = undo(REPAIR, story.call)
    assert step is not None
    assert step.owed[0].command == MoveCall("r1", from_user=13, to_user=1, extension="2099", undo=True)
    assert step.call.repair is None
    story.call = step.call
    story.tell(Moved(1, extension="2099", undo=True))
    assert (story.call.user_id, story.call.unmatched, story.call.moved) == (1, "2099", None)
    assert not story.call.matched


def test_an_undo_leaves_calls_that_a_later_repair_has() -> None:
    call = replace(written().call, repair="r2")
    assert undo(REPAIR, call) is None
    assert undo(REPAIR, Call("c9", "p1", 0.0, repair="r1")) is None


def test_a_repair_survives_the_store() -> None:
    assert unpack_repair({**pack_repair(REPAIR), "later": 1}) == REPAIR


def test_the_map_of_extensions_is_changed_for_one_extension_only() -> None:
    settings = PortalSettings(extension_users={"2001": 11})
    given = with_extension(settings, "2099", 13)
    assert given.extension_users == {"2001": 11, "2099": 13}
    assert with_extension(given, "2099", None) == settings
    assert settings.extension_users == {"2001": 11}
