"""A small invented company for the demo and the journeys."""

from __future__ import annotations

from bitrix_app.sandbox.portal import SandboxPortal
from bitrix_app.sandbox.state import Department, User

ADMIN, MANAGER = 1, 5
AGENTS = (11, 12, 13, 14, 15)
LINE = "+380440000100"

_AGENTS = [
    (11, "Taras", "Koval", "2001"),
    (12, "Iryna", "Melnyk", "2002"),
    (13, "Andrii", "Bondar", "2003"),
    (14, "Sofiia", "Tkach", "2004"),
    (15, "Maksym", "Lysenko", "2005"),
]
_CONTACTS = [
    ("Emma", "Stone", "+380440000001", 11),
    ("Leo", "Martin", "+380440000002", 12),
    ("Nadia", "Green", "+380440000003", 13),
    ("Oskar", "Blum", "+380440000004", 14),
]


def seed_demo(portal: SandboxPortal) -> None:
    """People, clients and open work; nobody here exists."""
    portal.add_department(Department(1, "Demo company", None, ADMIN))
    portal.add_department(Department(4, "Sales", 1, MANAGER))
    portal.add_user(User(ADMIN, "Olena", "Hrytsenko", "olena@example.com", inner="2000", admin=True,
                         position="Administrator", time_zone="Europe/Kyiv"))  # fmt: skip
    portal.add_user(User(MANAGER, "Dmytro", "Savchenko", "dmytro@example.com", inner="2010",
    position="Head of sales",
                         departments=[4], time_zone="Europe/Kyiv"))  # fmt: skip
    for number, name, last_name, inner in _AGENTS:
        portal.add_user(User(number, name, last_name, f"{name.lower()}@example.com", inner=inner,
        position="Sales",
                             departments=[4], time_zone="Europe/Kyiv", sees_statistics=False))  # fmt: skip
    company = portal.add_item("COMPANY", {
        "title": "Northwind Ltd", "assignedById": 12,
        "fm": [{"typeId": "PHONE", "valueType": "WORK", "value": "+380440000050"}],
    })  # fmt: skip
    for index, (name, last_name, phone, agent) in enumerate(_CONTACTS):
        portal.add_item("CONTACT", {
            "name": name, "lastName": last_name, "assignedById": agent,
            "companyId": company.id if index == 0 else 0,
            "fm": [
                {"typeId": "PHONE", "valueType": "MOBILE", "value": phone},
                {"typeId": "EMAIL", "valueType": "WORK", "value": f"{name.lower()}@example.com"},
            ],
        })  # fmt: skip
    first, second = portal.contacts[0], portal.contacts[1]
    portal.add_item("DEAL", {"title": "Office phones", "contactId": first.id, "companyId": company.id,
                             "assignedById": 11, "stageId": "EXECUTING", "opportunity": 4200.5})  # fmt: skip
    portal.add_item("DEAL", {"title": "Repeat order", "contactId": second.id, "assignedById": 12,
    "categoryId": 9,
                             "stageId": "C9:NEW", "opportunity": 1250})  # fmt: skip
    for index, agent in enumerate(AGENTS[:3]):
        portal.add_item("LEAD", {
            "title": f"Website request {index + 1}", "assignedById": agent, "sourceId": "WEB",
            "fm": [{"typeId": "PHONE", "valueType": "WORK", "value": f"+38044000002{index}"}],
        })  # fmt: skip
