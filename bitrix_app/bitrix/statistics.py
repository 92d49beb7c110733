"""The portal's call statistics and the PBX's lines in the portal. Pure (bitrix24.md §6.7, §6.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bitrix_app.bitrix.values import as_id, as_int, as_rows, as_text
from bitrix_app.bitrix.wire import RestCall
from bitrix_app.core.events import Finished


@dataclass(frozen=True, slots=True)
class Statistic:
    """A finished call as the portal's statistics know it. `duration` is whole seconds."""

    call_id: str
    external_call_id: str
    user_id: int | None
    line: str
    number: str
    duration: int
    failed_code: str
    crm_type: str | None
    crm_id: int | None
    activity_id: int | None
    record_file_id: int | None

    @property
    def finished(self) -> Finished:
        """What `finish` would have told: for a finish whose answer was lost."""
        note = None if self.activity_id else "Bitrix24 made no activity for this call"
        return Finished(self.activity_id, self.crm_type, self.crm_id, self.user_id, note)


def statistic(filter: Mapping[str, Any]) -> RestCall:
    """`voximplant.statistic.get`, the newest first. It knows finished calls only."""
    return RestCall(
        "voximplant.statistic.get", {"FILTER": dict(filter), "SORT": "ID", "ORDER": "DESC"}, reads=True
    )


def by_our_id(external_call_id: str) -> RestCall:
    return statistic({"EXTERNAL_CALL_ID": external_call_id})


def by_call_id(call_id: str) -> RestCall:
    """For calls that the portal registered itself (click-to-call): they have no id of ours."""
    return statistic({"CALL_ID": call_id})


def read_statistics(result: Any) -> list[Statistic]:
    return [
        Statistic(
            call_id=as_text(row.get("CALL_ID")),
            external_call_id=as_text(row.get("EXTERNAL_CALL_ID")),
            user_id=as_id(row.get("PORTAL_USER_ID")),
            line=as_text(row.get("PORTAL_NUMBER")),
            number=as_text(row.get("PHONE_NUMBER")),
            duration=as_int(row.get("CALL_DURATION")),
            failed_code=as_text(row.get("CALL_FAILED_CODE")),
            crm_type=as_text(row.get("CRM_ENTITY_TYPE")) or None,
            crm_id=as_id(row.get("CRM_ENTITY_ID")),
            activity_id=as_id(row.get("CRM_ACTIVITY_ID")),
            record_file_id=as_id(row.get("RECORD_FILE_ID")),
        )
        for row in as_rows(result)
        if as_text(row.get("CALL_ID"))
    ]


def read_statistic(result: Any) -> Statistic | None:
    """The newest row, when there is one."""
    rows = read_statistics(result)
    return rows[0] if rows else None


@dataclass(frozen=True, slots=True)
class Line:
    """An external line of our app in the portal; oldest portals do not tell `crm_create`."""

    number: str
    name: str
    crm_create: bool | None = None


def lines() -> RestCall:
    return RestCall("telephony.externalLine.get", reads=True)


def add_line(line: Line) -> RestCall:
    """A repeat is refused with «Line already exists» (`Conflict`), which counts as done."""
    params = {"NUMBER": line.number, "NAME": line.name}
    if line.crm_create is not None:
        params["CRM_AUTO_CREATE"] = "Y" if line.crm_create else "N"
    return RestCall("telephony.externalLine.add", params)


def update_line(line: Line) -> RestCall:
    call = add_line(line)
    return RestCall("telephony.externalLine.update", call.params)


def read_lines(result: Any) -> list[Line]:
    return [
        Line(
            number,
            as_text(row.get("NAME")),
            {"Y": True, "N": False}.get(as_text(row.get("CRM_AUTO_CREATE"))),
        )
        for row in as_rows(result)
        if (number := as_text(row.get("NUMBER")))
    ]
