"""What the operator decides, read once at start (interface.md «Settings»).

Environment, or `.env` in the working directory; the environment wins. Nothing else in the house reads
the environment. A start with an unknown or invalid setting stops with every fault, one line each with
its mend; no value is ever repeated in a fault, for it may be a secret.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIXES: Final = ("APP_", "BITRIX_", "UNITALK_")
"""Names of the environment that begin like this are ours; an unknown one is a misspelling."""

KEY_LENGTH: Final = 32
TOKEN_LENGTH: Final = 22
"""128 bits in base64url (reliability.md §4.1)."""

MENDS: Final[Mapping[str, str]] = {
    "ALLOW_LOOPBACK": "Use 1 for tests on this machine, else 0.",
    "APP_BASE_URL": "Set it to the public address, such as https://calls.example.com.",
    "APP_SECRET_KEYS": 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"',
    "DATABASE_URL": "Use sqlite:///data/unitalk.db; PostgreSQL comes with a later version.",
    "BITRIX_CLIENT_ID": "Copy it from the application's card in Bitrix24.",
    "BITRIX_CLIENT_SECRET": "Copy it from the application's card in Bitrix24.",
    "BITRIX_AUTH_SERVERS": "Leave it out, or list https addresses without a path, separated by commas.",
    "UNITALK_API_URL": "Leave it out, or give the https address of the PBX's API.",
    "UNITALK_PORTAL": "Give the portal's member_id or its domain, such as example.bitrix24.com.",
    "UNITALK_API_KEY": "Copy it from the Unitalk cabinet and set UNITALK_PORTAL too.",
    "UNITALK_WEBHOOK_TOKEN": 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(24))"',
    "BX24_JS_URL": "Leave it out, or give the https address of Bitrix24's frame library.",
    "LEASE_SECONDS": "Use a whole number from 5 to 3600; 60 is usual.",
    "UNITALK_RECORDING_HOSTS": "List host names, separated by commas; *.example.com takes subdomains.",
    "UNITALK_TIMEZONE": "Use a name of the time zone database, such as Europe/Kyiv.",
    "LOG_LEVEL": "Use TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL.",
    "LOG_FORMAT": "Use text or json.",
    "METRICS_TOKEN": "Use at least 16 characters, or leave it empty to switch /metrics off.",
    "SMTP_URL": "Use smtp://user:password@host:587 or smtps://…, or leave it empty.",
    "ALERT_EMAILS": "List addresses, separated by commas.",
    "SENTRY_DSN": "Copy it from Sentry, or leave it empty.",
}

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")
_MEMBER = re.compile(r"[0-9a-f]{32}")
_EMAIL = re.compile(r"[^@\s,]+@[^@\s,]+\.[^@\s,]+")

Words = Annotated[tuple[str, ...], NoDecode]


class SettingsError(Exception):
    """The start must stop; `faults` has one line for each reason, with its mend."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class Settings(BaseSettings):
    """The settings as interface.md names them, lower case. Build with `load`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    allow_loopback: bool = False
    app_base_url: str | None = None
    app_secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    database_url: SecretStr = SecretStr("sqlite:///data/unitalk.db")
    bitrix_client_id: str = ""
    bitrix_client_secret: SecretStr = SecretStr("")
    bitrix_auth_servers: Words = ("https://oauth.bitrix24.tech", "https://oauth.bitrix.info")
    unitalk_api_url: str = "https://api.unitalk.cloud/api"
    unitalk_portal: str = ""
    unitalk_api_key: SecretStr = SecretStr("")
    unitalk_webhook_token: SecretStr = SecretStr("")
    bx24_js_url: str = "https://api.bitrix24.com/api/v1/"
    lease_seconds: int = Field(default=60, ge=5, le=3600)
    unitalk_recording_hosts: Words = ("unitalk.cloud", "*.unitalk.cloud", "cstat.nextel.com.ua")
    unitalk_timezone: str = "Europe/Kyiv"
    log_level: str = "INFO"
    log_format: str = "text"
    metrics_token: SecretStr = SecretStr("")
    smtp_url: SecretStr = SecretStr("")
    alert_emails: Words = ()
    sentry_dsn: SecretStr = SecretStr("")

    @property
    def idle(self) -> tuple[str, ...]:
        """Names of settings that were given and that this version does not use yet."""
        return tuple(name for name in IDLE if getattr(self, name.lower()) != _default(name))

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The key ring in the clear, the writing key first."""
        return tuple(key.get_secret_value() for key in self.app_secret_keys)

    def is_unitalk_portal(self, member_id: str, domain: str) -> bool:
        """Whether this is the portal whose settings are pre-filled from UNITALK_…"""
        return bool(self.unitalk_portal) and self.unitalk_portal in (member_id.lower(), domain.lower())

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unset(cls, value: Any, info: ValidationInfo) -> Any:
        """An empty line means the default, so that the environment can undo a line of `.env`."""
        if isinstance(value, str) and not value.strip():
            return cls.model_fields[info.field_name or ""].default
        return value.strip() if isinstance(value, str) else value

    @field_validator(
        "app_secret_keys", "bitrix_auth_servers", "unitalk_recording_hosts", "alert_emails", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(w for w in map(str.strip, value.split(",")) if w) if isinstance(value, str) else value

    @field_validator("app_base_url", "unitalk_api_url", "bx24_js_url")
    @classmethod
    def _address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        _check_address(value, loopback=bool(info.data.get("allow_loopback")))
        return value if info.field_name == "bx24_js_url" else value.rstrip("/")

    @field_validator("bitrix_auth_servers")
    @classmethod
    def _auth_servers(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        loopback = bool(info.data.get("allow_loopback"))
        for address in value:
            _check_address(address, loopback=loopback)
            if urlsplit(address).path.strip("/") or (urlsplit(address).port and not loopback):
                raise ValueError("an auth server is a bare https host without port and path")
        return tuple(address.rstrip("/") for address in value)

    @field_validator("app_secret_keys")
    @classmethod
    def _keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for place, key in enumerate(value, 1):
            if len(key) < KEY_LENGTH:
                raise ValueError(f"key {place} is shorter than {KEY_LENGTH} characters")
            if len(set(key.get_secret_value())) < 8:
                raise ValueError(f"key {place} is too easy to guess")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("sqlite:///", "postgresql://")):
            raise ValueError("the database must be sqlite:/// or postgresql://")
        return value

    @field_validator("unitalk_portal")
    @classmethod
    def _portal(cls, value: str) -> str:
        value = value.lower()
        if value and not (_MEMBER.fullmatch(value) or _HOST.fullmatch(value)):
            raise ValueError("this is neither a member_id nor a domain")
        return value

    @field_validator("unitalk_api_key", "unitalk_webhook_token")
    @classmethod
    def _needs_portal(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value and info.data.get("unitalk_portal") == "":
            raise ValueError("it is set, but UNITALK_PORTAL does not say whose it is")
        return value

    @field_validator("unitalk_webhook_token")
    @classmethod
    def _token(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value and not re.fullmatch(r"[A-Za-z0-9_-]+", value.get_secret_value()):
            raise ValueError("only letters, digits, - and _ may stand in it")
        if value and len(value) < TOKEN_LENGTH and not info.data.get("allow_loopback"):
            raise ValueError(f"it is shorter than {TOKEN_LENGTH} characters and could be guessed")
        return value

    @field_validator("unitalk_recording_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [host for host in value if not _HOST.fullmatch(host.lower())]:
            raise ValueError(f"entry {value.index(bad[0]) + 1} is not a host name")
        return tuple(host.lower() for host in value)

    @field_validator("unitalk_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            raise ValueError("this time zone is not known") from None
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise ValueError("there is no such level")
        return value.upper()

    @field_validator("log_format")
    @classmethod
    def _format(cls, value: str) -> str:
        if value.lower() not in ("text", "json"):
            raise ValueError("there is no such format")
        return value.lower()

    @field_validator("metrics_token")
    @classmethod
    def _metrics(cls, value: SecretStr) -> SecretStr:
        if value and len(value) < 16:
            raise ValueError("it is too short")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        if value and not re.match(r"smtps?://[^/\s]+", value.get_secret_value()):
            raise ValueError("this is not an smtp address")
        return value

    @field_validator("alert_emails")
    @classmethod
    def _emails(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _EMAIL.fullmatch(address) for address in value):
            raise ValueError("one of them is not an e-mail address")
        return value


IDLE: Final = ("LEASE_SECONDS", "METRICS_TOKEN", "SMTP_URL", "ALERT_EMAILS", "SENTRY_DSN")
"""Accepted for what is to come: whoever sets one must hear that nothing happens yet."""


def _default(name: str) -> Any:
    return Settings.model_fields[name.lower()].default


NOBODYS_PREFIX: Final = "UNITALK_BITRIX24_DEMO_TAKES_NOTHING_FROM_THE_ENVIRONMENT_"

NAMES: Final = tuple(name.upper() for name in Settings.model_fields)
"""Every setting, as the operator writes it."""

SERVING: Final = ("APP_BASE_URL", "APP_SECRET_KEYS", "BITRIX_CLIENT_ID", "BITRIX_CLIENT_SECRET")
"""What `serve` cannot do without."""


def alone(**given: Any) -> Settings:
    """Settings from `given` (lower-case names) and the defaults only, whatever the environment says:
    the demo must start on any machine. Raises `pydantic.ValidationError`.
    """
    return Settings(**{"_env_file": None, "_env_prefix": NOBODYS_PREFIX, **given})


def load(*, serving: bool = False, env_file: Path | None = None, **given: Any) -> Settings:
    """The settings of this process. Raises `SettingsError` with every fault.

    `serving` also wants what only `serve` needs. `given` (lower-case names) stands above the
    environment; tests use it.
    """
    file = env_file or Path(".env")
    faults = _unknown(file)
    settings: Settings | None = None
    faulty: set[str] = set()
    try:
        settings = Settings(**{"_env_file": file, "_env_file_encoding": "utf-8", **given})
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False, include_context=False):
            name = str(item["loc"][0]).upper()
            faulty.add(name)
            what = item["msg"].removeprefix("Value error, ")
            faults.append(f"{name}: {what[:1].lower()}{what[1:]}. {MENDS[name]}")
    if serving:
        missing = _missing(settings, file, given) - faulty
        faults += [f"{name}: it is not set, and serve needs it. {MENDS[name]}" for name in sorted(missing)]
    if faults or settings is None:
        raise SettingsError(faults)
    return settings


def _check_address(value: str, *, loopback: bool) -> None:
    parts = urlsplit(value)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.username or parts.query or parts.fragment or re.search(r"\s", value):
        raise ValueError("this is not an address of the form https://host")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise ValueError("the address must begin with https://")


def _unknown(file: Path) -> list[str]:
    """Names that nobody knows: all of `.env`, and those of the environment that look like ours."""
    written = [
        (name, str(file)) for name in (dotenv_values(file, encoding="utf-8") if file.is_file() else ())
    ]
    around = [(name, "the environment") for name in os.environ if name.upper().startswith(PREFIXES)]
    faults = []
    for name, place in dict.fromkeys(written + around):
        if name.upper() in NAMES:
            continue
        near = difflib.get_close_matches(name.upper(), NAMES, n=1)
        mend = f"Did you mean {near[0]}?" if near else "Remove it."
        faults.append(f"{_printable(name)}: no such setting (in {place}). {mend}")
    return sorted(faults)


def _written(file: Path) -> dict[str, str | None]:
    return dict(dotenv_values(file, encoding="utf-8")) if file.is_file() else {}


def _missing(settings: Settings | None, file: Path, given: Mapping[str, Any]) -> set[str]:
    if settings is not None:
        return {name for name in SERVING if not getattr(settings, name.lower())}
    written = _written(file)
    here = {name.upper(): value for name, value in (written | dict(os.environ) | dict(given)).items()}
    return {name for name in SERVING if not here.get(name)}


def _printable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "?", name)[:60]
