"""Installing, updating and removing the app, and the frames in which it is shown (bitrix24.md §1, §2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from bitrix_app.sandbox.world import World


@dataclass(frozen=True)
class Frame:
    """What the browser does to open the app: POST `form` to `url` with `query`, in an iframe `name`."""

    url: str
    query: dict[str, str]
    form: dict[str, str]
    name: str
    title: str = ""

    @property
    def address(self) -> str:
        """The full address of the POST."""
        joint = "&" if "?" in self.url else "?"
        return f"{self.url}{joint}{urlencode(self.query)}"


class Lifecycle:
    """The life of the app in one portal."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.application_token = world.md5()
        world.installed = not world.card.install_url

    # -- frames ----------------------------------------------------------------------------------

    def frame_form(
        self, user_id: int, placement: str = "DEFAULT", options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Query and form of the browser's POST, with a fresh pair of that user (§2.1).

        PLACEMENT_OPTIONS is PHP's JSON with escaped slashes, absent when there is nothing to say.
        """
        world = self._world
        pair = world.issue(user_id)
        query = {
            "DOMAIN": world.domain,
            "PROTOCOL": "1" if world.secure else "0",
            "LANG": world.language,
            "APP_SID": world.md5(),
        }
        form = {"AUTH_ID": pair.access, "AUTH_EXPIRES": "3600", "REFRESH_ID": pair.refresh}
        if not world.legacy_frames:
            form |= {
                "SERVER_ENDPOINT": world.auth.server_endpoint,
                "APPLICATION_TOKEN": world.application_token,
                "APPLICATION_SCOPE": pair.scope,
            }
        form |= {"member_id": world.member_id, "status": world.status_letter, "PLACEMENT": placement}
        if options:
            form["PLACEMENT_OPTIONS"] = php_json(options)
        return query, form

    def open_frame(
        self,
        user_id: int,
        placement: str = "DEFAULT",
        options: Mapping[str, Any] | None = None,
        handler: str | None = None,
    ) -> Frame | None:
        """The frame that user would see, or None: "not fully installed" for ordinary users (§1.2)."""
        world = self._world
        if not world.present:
            return None
        title = world.card.name
        if not world.installed:
            if placement != "DEFAULT" or not world.user(user_id).admin:
                return None
            url = world.card.install_url
        elif placement == "DEFAULT":
            url = world.card.app_url
        else:
            rows = [one for one in world.state.placements if one.code == placement]
            row = next((one for one in rows if handler in (None, one.handler)), None)
            if row is None:
                return None
            url = row.handler
            title = row.lang_all.get(world.language, {}).get("TITLE") or row.title or title
        query, form = self.frame_form(user_id, placement, options)
        name = f"{world.domain}|{query['PROTOCOL']}|{query['APP_SID']}"
        return Frame(url, query, form, name, title)

    # -- installation ----------------------------------------------------------------------------

    def finish_install(self, user_id: int) -> bool:
        """BX24.installFinish: an administrator's act; fires ONAPPINSTALL, or ONAPPUPDATE after an update."""
        world = self._world
        if world.installed or not world.present or not world.user(user_id).admin:
            return False
        world.installed = True
        self._announce(user_id)
        return True

    def _announce(self, user_id: int | None) -> None:
        world = self._world
        language = {"LANGUAGE_ID": world.language}
        if world.previous_version is not None:
            data = {"VERSION": world.version, "PREVIOUS_VERSION": world.previous_version, **language}
            world.previous_version = None
            world.emit("ONAPPUPDATE", data, user_id)
        else:
            data = {"VERSION": world.version, "ACTIVE": "Y", "INSTALLED": "Y", **language}
            world.emit("ONAPPINSTALL", data, user_id)

    def _drop_bindings(self) -> None:
        self._world.state.handlers.clear()
        self._world.state.placements.clear()

    def uninstall(self, clean: bool = True) -> None:
        """Tell without tokens, then drop handlers, widgets, lines, layout blocks and tokens (§1.3)."""
        world = self._world
        data = {"LANGUAGE_ID": world.language, "CLEAN": 1 if clean else 0}
        world.emit("ONAPPUNINSTALL", data, None, while_not_installed=True)
        self._drop_bindings()
        world.state.lines.clear()
        world.state.offline_events.clear()
        for activity in world.state.activities.values():
            activity.blocks = None
        if clean or world.status_letter == "L":  # a local app always loses its options
            world.state.app_options.clear()
            world.state.user_options.clear()
        world.auth.forget(world.member_id)
        world.present, world.installed = False, False

    def reinstall(self) -> None:
        """The same member_id; INSTALLED is reset when there is an installer; a new application_token."""
        world = self._world
        if world.present:
            self._drop_bindings()
        world.present = True
        world.installed = not world.card.install_url
        world.application_token = world.md5()

    def update(self, version: int) -> None:
        """A new version: bindings go; ONAPPUPDATE follows once the installer has run again."""
        world = self._world
        self._drop_bindings()
        world.previous_version, world.version = world.version, version
        world.installed = not world.card.install_url
        if world.installed:
            admin = next((one.id for one in world.state.users.values() if one.admin), None)
            self._announce(admin)

    def set_payment_expired(self, expired: bool) -> None:
        """The subscription ends or comes back; a hint is sent (§1.4)."""
        world = self._world
        world.payment_expired = expired
        data = {
            "CODE": world.card.code,
            "VERSION": world.version,
            "STATUS": world.status_letter,
            "PAYMENT_EXPIRED": "Y" if expired else "N",
            "DAYS": 0 if expired else 28,
            "LANGUAGE_ID": world.language,
        }
        world.emit("ONAPPPAYMENT", data, None, while_not_installed=True)

    def confirm_method(self, token: str, method: str, allowed: bool) -> None:
        """An administrator answers METHOD_CONFIRM_WAITING; it holds for this token only (§4.3)."""
        world = self._world
        world.confirmed_tokens[(token, method.lower())] = allowed
        data = {
            "TOKEN": token,
            "METHOD": method,
            "CONFIRMED": 1 if allowed else 0,
            "LANGUAGE_ID": world.language,
        }
        world.emit("ONAPPMETHODCONFIRM", data, None)


def php_json(value: Any) -> str:
    """json_encode: slashes escaped, non-ASCII as \\uXXXX."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")
