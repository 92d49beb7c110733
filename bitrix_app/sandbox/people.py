"""What employees and clients of the portal do by hand: click a number, ask for a callback, press a button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.crm_fields import TYPE_IDS
from bitrix_app.sandbox.state import Call
from bitrix_app.sandbox.telephony import OUTGOING, start_call
from bitrix_app.sandbox.world import World


class People:
    """Acts that start in the portal and reach the app as events."""

    def __init__(self, world: World) -> None:
        self._world = world

    def click_to_call(
        self,
        user_id: int,
        number: str,
        *,
        line: str = "",
        entity: tuple[str, int] = ("", 0),
        mobile: bool = False,
    ) -> Call:
        """A click on a number: the call is registered already, without EXTERNAL_CALL_ID (§6.8)."""
        world = self._world
        line = line or next(iter(world.state.lines), "")
        call = start_call(
            world,
            world.user(user_id),
            number=world.normalise(number) or number,
            raw=number,
            kind=OUTGOING,
            started=world.now(),
            line=line,
            entity=entity,
            create=True,
            author=user_id,
        )
        data = {
            "PHONE_NUMBER": number,
            "PHONE_NUMBER_INTERNATIONAL": f"+{call.number}",
            "EXTENSION": "",
            "USER_ID": user_id,
            "CALL_LIST_ID": 0,
            "LINE_NUMBER": line,
            "IS_MOBILE": 1 if mobile else 0,
            "CALL_ID": call.call_id,
            "CRM_ENTITY_TYPE": call.entity_type,
            "CRM_ENTITY_ID": call.entity_id,
        }
        world.emit("ONEXTERNALCALLSTART", data, user_id)
        return call

    def request_callback(
        self, number: str, *, text: str = "A callback was requested on the website", line: str = ""
    ) -> None:
        """A web form: an anonymous visitor, so there is no user and no token (§6.8)."""
        world = self._world
        found = crm.find_clients(world, world.normalise(number) or number)
        data = {
            "PHONE_NUMBER": number,
            "TEXT": text,
            "VOICE": "ukinternalfemale",
            "CRM_ENTITY_TYPE": crm.TYPE_NAMES[found[0].type_id] if found else "",
            "CRM_ENTITY_ID": found[0].id if found else 0,
            "LINE_NUMBER": line or next(iter(world.state.lines), ""),
        }
        world.emit("ONEXTERNALCALLBACKSTART", data, None)

    def change(self, kind: str, number: int, fields: Mapping[str, Any], user_id: int | None = 1) -> None:
        """Somebody edits a record by hand; `user_id=None` means an automation rule, so no token."""
        crm.update(self._world, self._world.state.items[TYPE_IDS[kind]][number], fields, user_id)

    def press(self, activity_id: int, action_id: str, params: Mapping[str, Any], user_id: int) -> None:
        """A restEvent button on our card: ONCRMTIMELINEITEMACTION, flat (§7.6)."""
        activity = self._world.state.activities[activity_id]
        data = {
            **params,
            "entityTypeId": activity.fields["OWNER_TYPE_ID"],
            "entityId": activity.fields["OWNER_ID"],
            "activityId": activity_id,
            "id": action_id,
            "userId": user_id,
        }
        self._world.emit("ONCRMTIMELINEITEMACTION", data, user_id)
