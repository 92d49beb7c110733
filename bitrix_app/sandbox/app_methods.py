"""The app about itself: app.info, options, scopes, capabilities (bitrix24.md §12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitrix_app.sandbox.errors import RestError
from bitrix_app.sandbox.registry import METHODS
from bitrix_app.sandbox.wire import php_map, php_true
from bitrix_app.sandbox.world import APP_ROW_ID, Hit

FEATURES = {"rest_offline_extended": "Y", "rest_auth_connector": "Y"}


@METHODS.add("app.info")
def app_info(hit: Hit) -> dict[str, Any]:
    world = hit.world
    family = world.license_family
    return {
        "ID": APP_ROW_ID,
        "CODE": world.card.code,
        "VERSION": world.version,
        "STATUS": world.status_letter,
        "INSTALLED": world.installed,
        "PAYMENT_EXPIRED": "Y" if world.payment_expired else "N",
        "DAYS": None,
        "LANGUAGE_ID": world.language,
        "LICENSE": f"en_{family}100",
        "LICENSE_TYPE": f"{family}100",
        "LICENSE_FAMILY": family,
    }


@METHODS.add("app.option.set", app_only=True)
def app_option_set(hit: Hit) -> bool:
    """Administrators only; a portal-wide map of strings."""
    hit.need_admin(RestError("AccessException", "Administrator authorization required", status=400))
    hit.state.app_options.update(_options(hit))
    return True


@METHODS.add("app.option.get", app_only=True)
def app_option_get(hit: Hit) -> Any:
    return _option(hit, hit.state.app_options)


@METHODS.add("user.option.set", app_only=True)
def user_option_set(hit: Hit) -> bool:
    hit.state.user_options.setdefault(hit.user_id, {}).update(_options(hit))
    return True


@METHODS.add("user.option.get", app_only=True)
def user_option_get(hit: Hit) -> Any:
    return _option(hit, hit.state.user_options.get(hit.user_id, {}))


def _options(hit: Hit) -> dict[str, str]:
    options = hit.arg("options")
    if not isinstance(options, Mapping) or not options:
        raise RestError("ArgumentNullException", "Argument 'options' is null or empty", status=400)
    return {str(key): str(value) for key, value in options.items()}


def _option(hit: Hit, table: dict[str, str]) -> Any:
    name = hit.arg("option")
    visible = {key: value for key, value in table.items() if not key.startswith("_")}
    return php_map(dict(visible)) if not name else visible.get(str(name))


@METHODS.add("scope")
def scope(hit: Hit) -> list[str]:
    """Scopes of the app, or with `full` all of the portal."""
    if php_true(hit.arg("full")):
        return sorted({one for name in METHODS.names() for one in _scopes_of(name)})
    return list(hit.scopes)


def _scopes_of(name: str) -> tuple[str, ...]:
    method = METHODS.find(name)
    return method.scopes if method else ()


@METHODS.add("methods")
def methods(hit: Hit) -> list[str]:
    return METHODS.names(None if php_true(hit.arg("full")) else hit.scopes)


@METHODS.add("method.get")
def method_get(hit: Hit) -> dict[str, bool]:
    method = METHODS.find(str(hit.arg("name") or ""))
    available = method is not None and (not method.scopes or bool(set(method.scopes) & set(hit.scopes)))
    return {"isExisting": method is not None, "isAvailable": available}


@METHODS.add("feature.get")
def feature_get(hit: Hit) -> dict[str, str]:
    return {"value": FEATURES.get(str(hit.arg("CODE") or ""), "N")}


@METHODS.add("server.time")
def server_time(hit: Hit) -> str:
    return hit.world.now_iso()
