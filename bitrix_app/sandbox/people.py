"""What employees and clients of the portal do by hand: click a number, ask for a callback, press a button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox import crm
from bitrix_app.sandbox.crm_fields import TYPE_IDS
from bitrix_app.sandbox.phones import extension
from bitrix_app.sandbox.state import Call
from bitrix_app.sandbox.telephony import OUTGOING, create_client, start_call
from bitrix_app.sandbox.world import World

CALL_START, CALLBACK_START = "ONEXTERNALCALLSTART", "ONEXTERNALCALLBACKSTART"
CALLBACK_TEXT = "A callback was requested on the website"


class People:
    """Acts that start in the portal and reach the app as events."""

    def __init__(self, world: World) -> None:
        self._world = world

    def press_call(
        self,
        user_id: int,
        number: str,
        *,
        line: str = "",
        entity: tuple[str, int] = ("", 0),
        mobile: bool = False,
    ) -> str:
        """The Call button: CALL_ID, or "" where the portal calls by other means than our app (§6.7).

        Ours is the call only if the app listens for it and its line is the default outgoing one.
        """
        world = self._world
        options = world.options
        bound = any(one.event == CALL_START and not one.offline for one in world.state.handlers)
        ours = options.app_is_default_outgoing and user_id not in options.own_outgoing
        if not (world.present and world.installed and bound and ours):
            return ""
        return self.click_to_call(user_id, number, line=line, entity=entity, mobile=mobile).call_id

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
        user = world.user(user_id)
        line = line or next(iter(world.state.lines), "")
        inner = world.options.click_extension == "user"
        call = start_call(
            world,
            user,
            number=world.normalise(number) or number,
            raw=number,
            kind=OUTGOING,
            started=world.now(),
            line=line,
            entity=entity,
            create=True,
            author=user_id,
            joins=world.options.second_press == "same_call",
        )
        data = {
            "PHONE_NUMBER": number,
            "PHONE_NUMBER_INTERNATIONAL": f"+{call.number}",
            "EXTENSION": user.inner if inner else extension(number),
            "USER_ID": user_id,
            "CALL_LIST_ID": 0,
            "LINE_NUMBER": line,
            "IS_MOBILE": 1 if mobile else 0,
            "CALL_ID": call.call_id,
            "CRM_ENTITY_TYPE": call.entity_type,
            "CRM_ENTITY_ID": call.entity_id,
        }
        world.emit(CALL_START, data, user_id)
        return call

    def request_callback(
        self, number: str, *, text: str = CALLBACK_TEXT, line: str = "", user_id: int | None = None
    ) -> tuple[str, int]:
        """The callback form on a web site; the CRM entity found or made, ("", 0) for none.

        Its visitor is anonymous, so there is no user and no token (§6.8); a `user_id` is an employee who
        fills it in for a client.
        """
        world = self._world
        digits = world.normalise(number) or number
        found = crm.find_clients(world, digits)
        entity = (crm.TYPE_NAMES[found[0].type_id], found[0].id) if found else ("", 0)
        if not found and world.options.callback_creates_client:
            admin = next((one.id for one in world.state.users.values() if one.admin and one.active), 1)
            title = f"Callback form: +{digits}"
            entity = create_client(world, digits, admin, "CALLBACK", title, user_id)[0]
        data = {
            "PHONE_NUMBER": number,
            "TEXT": text,
            "VOICE": "ukinternalfemale",
            "CRM_ENTITY_TYPE": entity[0],
            "CRM_ENTITY_ID": entity[1],
            "LINE_NUMBER": line or next(iter(world.state.lines), ""),
        }
        world.emit(CALLBACK_START, data, user_id)
        return entity

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
