"""Field names of CRM records: camelCase of crm.item.*, upper case of the old methods (bitrix24.md §7)."""

from __future__ import annotations

import re
from typing import Any

LEAD, DEAL, CONTACT, COMPANY = 1, 2, 3, 4
TYPE_NAMES = {LEAD: "LEAD", DEAL: "DEAL", CONTACT: "CONTACT", COMPANY: "COMPANY"}
TYPE_IDS = {name: number for number, name in TYPE_NAMES.items()}
STAGE_FIELDS = {LEAD: "stageId", DEAL: "stageId"}

_COMMON = "id createdTime updatedTime createdBy updatedBy assignedById opened"
_UTM = "utmSource utmMedium utmCampaign utmContent utmTerm"

# What an item shows, in the order of the samples; other fields show once they have a value.
ITEM_KEYS: dict[int, tuple[str, ...]] = {
    type_id: tuple(f"{_COMMON} {names}".split())
    for type_id, names in {
        LEAD: "companyId contactId stageId stageSemanticId opportunity currencyId isManualOpportunity "
        "sourceId title name lastName hasPhone hasEmail hasImol originatorId originId isReturnCustomer "
        "movedBy movedTime",
        DEAL: "leadId companyId contactId title categoryId stageId stageSemanticId isNew closed opportunity "
        "currencyId isManualOpportunity sourceId movedBy movedTime lastActivityBy lastActivityTime",
        CONTACT: "companyId leadId name lastName secondName honorific post typeId sourceId sourceDescription "
        "comments export hasPhone hasEmail hasImol originatorId originId lastActivityBy lastActivityTime "
        + _UTM,
        COMPANY: "leadId title typeId industry comments hasPhone hasEmail hasImol originatorId originId "
        "lastActivityBy lastActivityTime " + _UTM,
    }.items()
}

# Every field a record of the type may hold, with its value at birth.
DEFAULTS: dict[int, dict[str, Any]] = {
    LEAD: {
        "title": "", "honorific": None, "name": None, "secondName": None, "lastName": None,
        "companyTitle": None,
        "companyId": 0, "contactId": 0, "isReturnCustomer": "N", "birthdate": "", "sourceId": "CALL",
        "sourceDescription": None, "stageId": "NEW", "stageSemanticId": "P", "statusDescription": None,
        "post": None,
        "comments": None, "currencyId": "EUR", "opportunity": 0, "isManualOpportunity": "N", "hasPhone": "N",
        "hasEmail": "N", "hasImol": "N", "assignedById": 1, "opened": "Y", "originatorId": None,
        "originId": None,
        "dateClosed": "",
    },
    DEAL: {
        "title": "", "typeId": "SALE", "stageId": "NEW", "probability": None, "currencyId": "EUR",
        "opportunity": 0,
        "isManualOpportunity": "N", "taxValue": 0, "leadId": None, "companyId": 0, "contactId": 0,
        "quoteId": None,
        "begindate": "", "closedate": "", "assignedById": 1, "opened": "Y", "closed": "N", "comments": None,
        "additionalInfo": None, "locationId": None, "categoryId": 0, "stageSemanticId": "P", "isNew": "Y",
        "isRecurring": "N", "isReturnCustomer": "N", "isRepeatedApproach": "N", "sourceId": "CALL",
        "sourceDescription": None, "originatorId": None, "originId": None,
    },
    CONTACT: {
        "post": None, "comments": "", "honorific": None, "name": None, "secondName": None, "lastName": None,
        "photo": None, "leadId": None, "typeId": "CLIENT", "sourceId": "CALL", "sourceDescription": None,
        "companyId": 0, "birthdate": "", "export": "Y", "hasPhone": "N", "hasEmail": "N", "hasImol": "N",
        "assignedById": 1, "opened": "Y", "originatorId": None, "originId": None,
    },
    COMPANY: {
        "title": "", "typeId": "CUSTOMER", "industry": "OTHER", "leadId": None, "comments": "",
        "hasPhone": "N",
        "hasEmail": "N", "hasImol": "N", "assignedById": 1, "opened": "Y", "originatorId": None,
        "originId": None,
    },
}  # fmt: skip
SERVICE_FIELDS: tuple[str, ...] = (
    "id", "createdTime", "updatedTime", "createdBy", "updatedBy", "movedBy", "movedTime", "lastActivityBy",
    "lastActivityTime", *_UTM.split(),
)  # fmt: skip
READ_ONLY = frozenset({"id", "createdTime", "updatedTime", "createdBy", "updatedBy", "movedBy", "movedTime",
                       "stageSemanticId", "hasPhone", "hasEmail", "hasImol", "closed", "isNew"})  # fmt: skip

# Old names that do not follow from the new ones letter by letter.
_OLD_NAMES = {
    "createdTime": "DATE_CREATE",
    "updatedTime": "DATE_MODIFY",
    "createdBy": "CREATED_BY_ID",
    "updatedBy": "MODIFY_BY_ID",
    "movedBy": "MOVED_BY_ID",
    "dateClosed": "DATE_CLOSED",
}
_OLD_LEAD_NAMES = {"stageId": "STATUS_ID", "stageSemanticId": "STATUS_SEMANTIC_ID"}
_CLASSIC_MONEY = frozenset({"opportunity", "taxValue"})


def old_name(type_id: int, name: str) -> str:
    """`assignedById` → `ASSIGNED_BY_ID`, `stageId` of a lead → `STATUS_ID`."""
    if type_id == LEAD and name in _OLD_LEAD_NAMES:
        return _OLD_LEAD_NAMES[name]
    if name in _OLD_NAMES:
        return _OLD_NAMES[name]
    if name.startswith("ufCrm_"):
        return "UF_CRM_" + name[len("ufCrm_") :].upper()
    return re.sub(r"([A-Z])", r"_\1", name).upper()


def new_name(type_id: int, name: str) -> str:
    """The other way round; user fields become `ufCrm_…`."""
    for table in (_OLD_LEAD_NAMES if type_id == LEAD else {}, _OLD_NAMES):
        for new, old in table.items():
            if old == name:
                return new
    if name.startswith("UF_CRM_"):
        return "ufCrm_" + name[len("UF_CRM_") :].lower()
    head, *rest = name.lower().split("_")
    return head + "".join(part.capitalize() for part in rest)


def is_user_field(name: str) -> bool:
    return name.startswith(("ufCrm", "UF_CRM_"))


def known_fields(type_id: int) -> set[str]:
    """Names an item filter, select or write may use."""
    extra = {"parentId", "companyIds", "contactIds", "observers"}
    return {*DEFAULTS[type_id], *SERVICE_FIELDS, *extra}


def classic_value(name: str, value: Any) -> Any:
    """Old methods print everything as strings; 0 and missing ids become null."""
    if name in _CLASSIC_MONEY:
        return f"{float(value or 0):.2f}"
    if value is None or (name.endswith("Id") and value == 0 and name != "categoryId"):
        return None
    return str(value)
