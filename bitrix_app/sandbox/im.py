"""Notifications and messages (bitrix24.md §9.1), and pushes to open pages (§13)."""

from __future__ import annotations

import json
from typing import Any

from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.state import Notification
from bitrix_app.sandbox.wire import as_list, to_int
from bitrix_app.sandbox.world import Hit

MAX_ATTACH = 60_000
_CHANNEL_SECONDS = 12 * 3600


def _message(hit: Hit) -> str:
    text = str(hit.arg("MESSAGE") or "").strip()
    if not text:
        raise RestError("MESSAGE_EMPTY", "Message can't be empty", status=400)
    attach = hit.arg("ATTACH")
    if attach is not None and len(json.dumps(attach)) > MAX_ATTACH:
        raise RestError(
            "ATTACH_OVERSIZE", "You have exceeded the maximum allowable size of attach", status=400
        )
    return text


def _notify(hit: Hit, author: int) -> int | bool:
    """A new notice with the same TAG replaces the old one of that user."""
    user_id = to_int(hit.arg("USER_ID"))
    if user_id <= 0:
        raise RestError("USER_ID_EMPTY", "User ID can't be empty", status=400)
    text = _message(hit)
    if not hit.world.user_active(user_id):
        return False
    tag = str(hit.arg("TAG") or "")
    rows = hit.state.notifications
    if tag:
        rows[:] = [one for one in rows if (one.tag, one.user_id) != (tag, user_id)]
    notice = Notification(
        hit.state.next_id("notification"),
        user_id,
        text,
        tag,
        str(hit.arg("SUB_TAG") or ""),
        author,
        hit.world.now(),
        hit.arg("ATTACH"),
    )
    rows.append(notice)
    return notice.id


@METHODS.add("im.notify.system.add", "im")
def notify_system(hit: Hit) -> int | bool:
    return _notify(hit, 0)


@METHODS.add("im.notify.personal.add", "im")
def notify_personal(hit: Hit) -> int | bool:
    return _notify(hit, hit.user_id)


@METHODS.add("im.notify", "im")
def notify(hit: Hit) -> int | bool:
    personal = str(hit.arg("TYPE") or "USER").upper() == "USER"
    return _notify(hit, hit.user_id if personal else 0)


@METHODS.add("im.message.add", "im")
def message_add(hit: Hit) -> int:
    text = _message(hit)
    number = hit.state.next_id("message")
    dialog = str(hit.arg("DIALOG_ID") or "")
    if not dialog:
        raise RestError("DIALOG_ID_EMPTY", "Dialog ID can't be empty", status=400)
    hit.state.messages.append(
        {"id": number, "dialog": dialog, "author": hit.user_id, "text": text, "at": hit.world.now()}
    )
    return number


@METHODS.add("pull.application.event.add", "pull", app_only=True)
def pull_add(hit: Hit) -> bool:
    """Other people's channels need an administrator's token."""
    users = [to_int(one) for one in as_list(hit.arg("USER_ID"))]
    if any(one != hit.user_id for one in users) and not hit.user.admin:
        text = "Only admin can send notifications to other channels"
        raise RestError("USER_ID_ACCESS_ERROR", text, status=400)
    hit.state.pull_events.append(
        {"command": str(hit.arg("COMMAND") or ""), "params": hit.arg("PARAMS") or {}, "users": users}
    )
    return True


@METHODS.add("pull.application.config.get", "pull", app_only=True)
def pull_config(hit: Hit) -> dict[str, Any]:
    """Channels for 12 hours. There is no push server behind these addresses."""
    now = hit.world.now()
    span = {"start": hit.world.iso(now), "end": hit.world.iso(now + _CHANNEL_SECONDS)}
    host = "rtc-cloud.example.com"
    return {
        "server": {
            "version": 4,
            "server_enabled": True,
            "mode": "personal",
            "hostname": hit.world.domain,
            "long_polling": f"https://{host}/sub2/",
            "long_pooling_secure": f"https://{host}/sub2/",
            "websocket_enabled": True,
            "websocket": f"wss://{host}/subws2/",
            "websocket_secure": f"wss://{host}/subws2/",
            "publish_enabled": True,
            "publish": f"https://{host}/rest/",
            "publish_secure": f"https://{host}/rest/",
            "config_timestamp": int(now),
        },
        "api": {"revision_web": 19, "revision_mobile": 3},
        "channels": {
            "shared": {"id": f"shared-{hit.world.member_id}", **span, "type": "shared"},
            "private": {
                "id": f"private-{hit.user_id}",
                "public_id": f"public-{hit.user_id}",
                **span,
                "type": "private",
            },
        },
        "exp": int(now + _CHANNEL_SECONDS),
        "publicChannels": {
            str(hit.user_id): {
                "user_id": hit.user_id,
                "public_id": f"public-{hit.user_id}",
                "signature": "fictional",
                **span,
            }
        },
    }
