"""A page opened from a record's menu or toolbar names its record (bitrix24.md §10)."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix_app.bitrix.frames import FrameRequest, read_frame, record_of
from tests.web.fakes import sample


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("crm-deal-list-menu", "DEAL:318"),
        ("crm-deal-detail-toolbar", "DEAL:318"),
        ("crm-lead-list-toolbar", None),
        ("crm-deal-detail-tab", None),
        ("crm-dynamic-detail-toolbar", None),
        ("telephony-analytics-menu", None),
    ],
)
def test_the_samples(name: str, record: str | None) -> None:
    told = sample(f"frame.placement.{name}")
    assert record_of(read_frame(told["query"], told["form"])) == record


@pytest.mark.parametrize(
    ("placement", "options", "record"),
    [
        ("CRM_LEAD_LIST_MENU", {"ID": "5"}, "LEAD:5"),
        ("CRM_CONTACT_DETAIL_TOOLBAR", {"ID": 7}, "CONTACT:7"),
        ("CRM_LEAD_LIST_MENU", {"ID": "0"}, None),
        ("CRM_LEAD_LIST_MENU", {}, None),
        ("CRM_COMPANY_LIST_MENU", {"ID": "5"}, None),
    ],
)
def test_only_a_record_with_an_id(placement: str, options: dict[str, Any], record: str | None) -> None:
    frame = FrameRequest("some-domain.bitrix24.com", "m", "t", placement=placement, options=options)
    assert record_of(frame) == record
