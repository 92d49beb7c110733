"""CRM: both families of methods, duplicates, directories, timeline (bitrix24.md §7)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.conftest import HANDLER, Api

pytestmark = pytest.mark.anyio

LEAD_ITEM = {
    "id", "createdTime", "updatedTime", "createdBy", "updatedBy", "assignedById", "opened", "companyId",
    "contactId",
    "stageId", "stageSemanticId", "opportunity", "currencyId", "isManualOpportunity", "sourceId", "title",
    "name",
    "lastName", "hasPhone", "hasEmail", "hasImol", "originatorId", "originId", "isReturnCustomer", "movedBy",
    "movedTime", "fm", "observers", "contactIds", "entityTypeId",
}  # fmt: skip
DEAL_ITEM = {
    "id", "createdTime", "updatedTime", "createdBy", "updatedBy", "assignedById", "opened", "leadId",
    "companyId",
    "contactId", "title", "categoryId", "stageId", "stageSemanticId", "isNew", "closed", "opportunity",
    "currencyId",
    "isManualOpportunity", "sourceId", "movedBy", "movedTime", "lastActivityBy", "lastActivityTime",
    "observers",
    "contactIds", "entityTypeId",
}  # fmt: skip
CLASSIC_CONTACT = {
    "ID", "POST", "COMMENTS", "HONORIFIC", "NAME", "SECOND_NAME", "LAST_NAME", "PHOTO", "LEAD_ID", "TYPE_ID",
    "SOURCE_ID", "SOURCE_DESCRIPTION", "COMPANY_ID", "BIRTHDATE", "EXPORT", "HAS_PHONE", "HAS_EMAIL",
    "HAS_IMOL",
    "DATE_CREATE", "DATE_MODIFY", "ASSIGNED_BY_ID", "CREATED_BY_ID", "MODIFY_BY_ID", "OPENED",
    "ORIGINATOR_ID",
    "ORIGIN_ID", "LAST_ACTIVITY_TIME", "LAST_ACTIVITY_BY", "PHONE", "EMAIL",
}  # fmt: skip


async def test_item_add_and_update(api: Api) -> None:
    await api.call("event.bind", event="ONCRMLEADUPDATE", handler=HANDLER)
    api.portal.finish_install(1)
    fm = [{"typeId": "PHONE", "valueType": "WORK", "value": "+380440000099"}]
    fields = {"title": "Missed", "assignedById": "12", "originatorId": "UNITALK", "originId": "X1", "fm": fm}
    item = (await api.call("crm.item.add", entityTypeId=1, fields=fields))["item"]
    assert set(item) == LEAD_ITEM
    assert (item["assignedById"], item["hasPhone"], item["stageSemanticId"], item["fm"][0]["value"]) == (
        12, "Y", "P", "+380440000099",
    )  # fmt: skip
    await api.call("crm.item.update", entityTypeId=1, id=item["id"], fields={"assignedById": 12})
    await api.portal.events.flush()
    assert api.portal.deliveries == []  # nothing changed, nothing happened
    changed = await api.call(
        "crm.item.update", entityTypeId=1, id=item["id"], fields={"stageId": "JUNK", "ufCrm_1": "x"}
    )
    assert (changed["item"]["stageSemanticId"], changed["item"]["ufCrm_1"]) == ("F", "x")
    await api.portal.events.flush()
    assert [one.event for one in api.portal.deliveries] == ["ONCRMLEADUPDATE"]


async def test_item_shapes(api: Api) -> None:
    deal = (await api.call("crm.item.get", entityTypeId=2, id=302))["item"]
    assert set(deal) == DEAL_ITEM
    assert (deal["stageId"], deal["categoryId"], deal["contactIds"]) == ("C9:NEW", 9, [702])
    contact = (await api.call("crm.item.get", entityTypeId=3, id=701))["item"]
    assert (contact["phoneMobile"], contact["phoneWork"], contact["companyIds"]) == (
        "+380440000001",
        "",
        [601],
    )
    narrow = await api.call("crm.item.list", entityTypeId=3, select=["id", "name"])
    assert set(narrow["items"][0]) == {"id", "name"}
    wide = await api.call("crm.item.list", entityTypeId=3, select=["id", "*"])
    assert "fm" in wide["items"][0]
    assert "fm" not in (await api.call("crm.item.list", entityTypeId=3))["items"][0]


async def test_item_refusals(api: Api) -> None:
    assert await api.refuse("crm.item.get", entityTypeId=3, id=1) == (400, "NOT_FOUND", "Element not found")
    refusal = await api.refuse("crm.item.list", entityTypeId=2, filter={"FIELD": 1})
    assert refusal == (400, "INVALID_ARG_VALUE", "Invalid filter: field 'FIELD' is not allowed in filter")
    bad = await api.refuse("crm.item.update", entityTypeId=2, id=301, fields={"stageId": "C9:NEW"})
    assert bad[1] == "INVALID_ARG_VALUE"
    api.portal.state.users[12].sees_all_crm = False
    assert (await api.as_user(12).refuse("crm.item.get", entityTypeId=3, id=701))[1] == "ACCESS_DENIED"


async def test_classic_methods(api: Api) -> None:
    contact = await api.call("crm.contact.get", id=701)
    assert set(contact) >= CLASSIC_CONTACT
    assert (contact["ID"], contact["COMPANY_ID"], contact["ASSIGNED_BY_ID"]) == ("701", "601", "11")
    assert contact["PHONE"][0]["VALUE"] == "+380440000001"
    assert await api.refuse("crm.lead.get", id=5) == (400, "", "Not found")
    rows = await api.call("crm.contact.list", filter={"PHONE": "+380440000001"}, select=["ID", "PHONE"])
    assert [one["ID"] for one in rows] == ["701"]
    assert await api.call("crm.contact.list", filter={"PHONE": "0440000001"}) == []  # exact match only
    assert "PHONE" not in (await api.call("crm.contact.list"))[0]
    deal = await api.call("crm.deal.get", id=301)
    assert (deal["OPPORTUNITY"], deal["STAGE_SEMANTIC_ID"], deal["CLOSED"]) == ("4200.50", "P", "N")
    lead = await api.call("crm.lead.get", id=1201)
    assert (lead["STATUS_ID"], lead["STATUS_SEMANTIC_ID"], lead["COMPANY_ID"]) == ("NEW", "P", None)


async def test_classic_multifields_need_the_row_id(api: Api) -> None:
    phones = [{"VALUE": "+380440000098", "VALUE_TYPE": "WORK"}]
    await api.call("crm.contact.update", id=701, fields={"PHONE": phones})
    assert len(api.portal.contacts[0].phones()) == 2
    row = str(api.portal.contacts[0].fm[0]["id"])
    await api.call("crm.contact.update", id=701, fields={"PHONE": [{"ID": row, "VALUE": "+380440000097"}]})
    assert api.portal.contacts[0].phones() == ["+380440000097", "+380440000098"]


async def test_duplicates(api: Api) -> None:
    find = "crm.duplicate.findbycomm"
    api.portal.add_item("LEAD", {"title": "same", "fm": [{"typeId": "PHONE", "value": "044 000 00 01"}]})
    lead = api.portal.leads[-1].id
    found = await api.call(find, type="PHONE", values=["+38 044 000-00-01;105"])
    assert found == {"LEAD": [lead], "CONTACT": [701]}
    assert await api.call(find, type="PHONE", values=["+380440000001"], entity_type="CONTACT") == {
        "CONTACT": [701]
    }
    assert await api.call(find, type="PHONE", values=["+380441112233"]) == []
    assert await api.call(find, type="EMAIL", values=["EMMA@example.com"]) == {"CONTACT": [701]}
    status, code, _ = await api.refuse(find, values=["1"])
    assert (status, code) == (400, "Communication type is not defined")


async def test_twenty_hits_hide_the_following_types(api: Api) -> None:
    for _ in range(20):
        api.portal.add_item("LEAD", {"title": "same", "fm": [{"typeId": "PHONE", "value": "+380440000001"}]})
    found = await api.call("crm.duplicate.findbycomm", type="PHONE", values=["+380440000001"])
    assert list(found) == ["LEAD"]


async def test_directories(api: Api) -> None:
    rows = await api.call("crm.status.list", order={"SORT": "ASC"}, filter={"ENTITY_ID": "DEAL_STAGE_9"})
    assert [one["STATUS_ID"] for one in rows] == ["C9:NEW", "C9:PREPARATION", "C9:WON", "C9:LOSE"]
    assert set(rows[0]) == {
        "ID", "ENTITY_ID", "STATUS_ID", "NAME", "NAME_INIT", "SORT", "SYSTEM", "CATEGORY_ID", "COLOR",
        "SEMANTICS",
        "EXTRA",
    }  # fmt: skip
    categories = await api.call("crm.category.list", entityTypeId=2)
    assert [one["id"] for one in categories["categories"]] == [9, 0]
    assert await api.call("crm.settings.mode.get") == 1


async def test_layout_blocks(api: Api) -> None:
    set_blocks, facts = "crm.activity.layout.blocks.set", {"entityTypeId": 3, "entityId": 701}
    await api.finished()
    activity = api.portal.activities[0].id
    text = {"type": "text", "properties": {"value": "Hello"}}
    good = {**facts, "activityId": activity, "layout": {"blocks": {"a": text}}}
    assert await api.call(set_blocks, **good) == {"success": True}
    shown = await api.call("crm.activity.layout.blocks.get", **facts, activityId=activity)
    assert shown == {"layout": {"blocks": {"a": text}}}
    await api.call(set_blocks, **{**good, "layout": {"blocks": {"b": text}}})
    assert list(api.portal.activities[0].blocks or {}) == ["b"]  # overwritten, not merged
    for change, code in (
        ({"entityId": 1}, "OWNER_NOT_FOUND"),
        ({"activityId": 1}, "NOT_FOUND"),
        ({"entityId": 702}, "NOT_FOUND"),
        ({"layout": {}}, "FIELD_IS_REQUIRED"),
        ({"layout": {"blocks": {"a": {"type": "text", "properties": {}}}}}, "FIELD_IS_REQUIRED"),
        ({"layout": {"blocks": {"a": {"type": "image"}}}}, "ENUM_FIELD"),
        ({"layout": {"blocks": {"a b": text}}}, "KEY_CONTAIN_WRONG_SYMBOLS"),
        ({"layout": {"blocks": {str(n): text for n in range(21)}}}, "TOO_MANY_ITEMS"),
    ):
        assert (await api.refuse(set_blocks, **{**good, **change}))[1] == code
    assert await api.call("crm.activity.layout.blocks.delete", **facts, activityId=activity) == {
        "success": True
    }
    assert api.portal.activities[0].blocks is None


async def test_own_cards(api: Api) -> None:
    layout = {"header": {"title": "Analysis"}, "body": {"blocks": {}}}
    made = await api.call(
        "crm.activity.configurable.add", ownerTypeId=2, ownerId=301, fields={}, layout=layout
    )
    number = made["activity"]["id"]
    blocks = {"entityTypeId": 2, "entityId": 301, "activityId": number, "layout": {"blocks": {"a": {}}}}
    assert (await api.refuse("crm.activity.layout.blocks.set", **blocks))[
        1
    ] == "UNSUITABLE_ACTIVITY_TYPE_ERROR"
    assert await api.call("crm.activity.configurable.update", id=number, layout=layout) == made
    await api.finished()
    native = api.portal.activities[-1].id
    refusal = await api.refuse("crm.activity.configurable.update", id=native, layout=layout)
    assert refusal[1] == "ERROR_WRONG_APPLICATION"


async def test_timeline(api: Api) -> None:
    comment = {"ENTITY_ID": 301, "ENTITY_TYPE": "deal", "COMMENT": "Hello"}
    assert await api.call("crm.timeline.comment.add", fields=comment) == 901
    assert (await api.refuse("crm.timeline.comment.add", fields={**comment, "ENTITY_ID": 1}))[
        1
    ] == "OWNER_NOT_FOUND"
    assert (await api.refuse("crm.timeline.comment.add", fields={**comment, "COMMENT": ""}))[1] == "100"
    log = {"entityTypeId": 2, "entityId": 301, "title": "Unitalk", "text": "Done", "iconCode": "info"}
    answer = await api.call("crm.timeline.logmessage.add", fields=log)
    assert set(answer["logMessage"]) == {"id", "created", "authorId", "title", "text", "iconCode"}
    todo = {"ownerTypeId": 2, "ownerId": 301, "deadline": "2026-09-03T10:15:00+03:00", "responsibleId": 12}
    number = (await api.call("crm.activity.todo.add", **todo, title="Call back"))["id"]
    assert (await api.call("crm.activity.get", id=number))["RESPONSIBLE_ID"] == "12"
    bound = await api.call("crm.activity.list", filter={"BINDINGS": [{"OWNER_TYPE_ID": 2, "OWNER_ID": 301}]})
    assert [one["ID"] for one in bound] == [str(number)]


async def test_user_fields_go_by_their_original_names_when_asked(api: Api) -> None:
    fields = {"title": "Named", "UF_CRM_TRIES": 1}
    item = (await api.call("crm.item.add", entityTypeId=1, fields=fields, useOriginalUfNames="Y"))["item"]
    assert item["UF_CRM_TRIES"] == 1
    about: dict[str, Any] = {"entityTypeId": 1, "id": item["id"]}
    changed = await api.call("crm.item.update", **about, fields={"UF_CRM_TRIES": 2}, useOriginalUfNames="Y")
    assert changed["item"]["UF_CRM_TRIES"] == 2
    assert (await api.call("crm.item.get", **about))["item"]["ufCrm_tries"] == 2
    original = (await api.call("crm.item.get", **about, useOriginalUfNames="Y"))["item"]
    assert original["UF_CRM_TRIES"] == 2
    assert "ufCrm_tries" not in original
