"""What we write down about ourselves, and what never gets into it (reliability.md §4.5).

`setup` is called once, by the composition root. Extra fields are an allow-list; every text, also a
traceback and another library's own log line, goes through `redact`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final, TextIO

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""The id of what is being worked on: of a request, a receipt or a job."""

EXTRA: Final = frozenset(
    {
        "portal", "platform", "operation", "code", "category", "status", "seconds", "kind", "state",
        "lane", "job", "attempt", "source", "event", "count", "size", "reason", "user", "route", "method",
    }
)  # fmt: skip
"""Fields that a log line may carry beside its message; others are dropped."""

MASK: Final = "***"

_SEP = r"(?:\s|\\|[\"'\]=:,]|b(?=[\"'])|%(?:25)*(?:22|27|3[AaDd]|5[Dd]|20|2[Cc]))"
_VALUE = r"(?:(?!%(?:25)*(?:26|22|27|7[Dd]|2[Cc]|5[Dd]|20|0[AaDd]))[^\s\"'&,;}\])<>\\{\[])+"
_ADDRESS = r"(?:(?!%(?:25)*(?:22|27))[^\s\"'<>])+"
_NAMES = (
    r"(?:[a-z]+[_-])*(?:tokens?|secrets?|passw(?:or)?d|api[_-]?key|unitalk[_-]?key)"
    r"|auth_?id|refresh_?id|(?:(?<![A-Za-z0-9_])|(?<=[2357][0-9A-Fa-f]))(?:auth|sid|app_sid)"
)
_SLASH = r"(?:\\?/|%(?:25)*2F)"
_RULES: Final = tuple(
    re.compile(rf"(?i)({before}){secret}")
    for before, secret in (
        # signed addresses: uploadUrl, DOWNLOAD_URL and links to recordings by their field
        (rf"(?:upload_?url|download_?url|record_?url|call_link){_SEP}+", _ADDRESS),
        (rf"(?:proxy-)?authorization{_SEP}+(?:(?:bearer|basic|token)(?:\s|%20)+)?", _VALUE),
        (r"\bbearer(?:\s|%20)+", r"[^\s\"',;]+"),
        (rf"(?:{_NAMES}){_SEP}*(?:[=:,]|%(?:25)*3[AD]){_SEP}*", _VALUE),
        (rf"unitalk{_SLASH}events{_SLASH}", r"(?:(?!%(?:25)*(?:3F|2F|22|26))[^\s/?#\"'&\\])+"),
        (rf"tracking{_SLASH}(?:rec|history){_SLASH}", _ADDRESS),
        (r"[a-z][a-z0-9+.-]*://[^\s/:@]*:", r"[^\s/@]+(?=@)"),
    )
)
_PHONE = re.compile(
    r"(?i)(?<=%2B)\d{7,15}"
    r"|\+\d(?:[\s().-]{0,2}\d){6,14}"
    r"|\(\d{2,5}\)\s?\d(?:[\s-]?\d){4,9}"
    r"|(?<![\w.])\d{9,15}(?![\w]|\.\d)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def redact_secrets(text: str) -> str:
    """The text without tokens, keys and links; numbers of people stay (for their own pages)."""
    for rule in _RULES:
        text = rule.sub(rf"\1{MASK}", text)
    return text


def redact(text: str) -> str:
    """As `redact_secrets`, with phone numbers cut to their last four digits."""
    return _PHONE.sub(lambda m: MASK + re.sub(r"\D", "", m[0])[-4:], redact_secrets(text))


def one_line(text: str) -> str:
    """Control characters made visible, so that no text can pretend to be a second log line."""
    return _CONTROL.sub(lambda m: _ESCAPES.get(m[0], f"\\x{ord(m[0]):02x}"), text)


_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@contextmanager
def correlated(value: str) -> Iterator[None]:
    """Everything logged inside carries this correlation id."""
    before = correlation_id.set(value)
    try:
        yield
    finally:
        correlation_id.reset(before)


def setup(level: str = "INFO", form: str = "text", stream: TextIO | None = None) -> None:
    """Send our own and the standard library's log to `stream` (stderr) as text or JSON lines."""
    target = stream or sys.stderr
    render = as_json if form == "json" else as_text

    def write(message: Message) -> None:
        target.write(render(message.record))
        target.flush()

    logger.remove()
    logger.add(write, level=level, format="{message}", backtrace=False, diagnose=False, catch=True)
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)  # a server configured elsewhere may have set one
    for name in ("httpx", "httpcore", "asyncio", "aiosqlite"):
        logging.getLogger(name).setLevel(logging.WARNING)


def as_text(record: Record) -> str:
    """One line for people; a traceback follows indented, so that it cannot be mistaken for one."""
    when = record["time"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
    head = f"{when} {record['level'].name:<8} {record['name'] or '-'} {one_line(redact(record['message']))}"
    lines = [one_line(f"{head}{fields}"), *(f"    | {one_line(line)}" for line in _traceback(record))]
    return "\n".join(lines) + "\n"


def as_json(record: Record) -> str:
    """One JSON object in a line."""
    data: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "level": record["level"].name,
        "logger": record["name"],
        "message": one_line(redact(record["message"])),
        **_fields(record),
    }
    if lines := _traceback(record):
        data["traceback"] = [one_line(line) for line in lines]
    return json.dumps(data, ensure_ascii=False) + "\n"


def _fields(record: Record) -> dict[str, str]:
    fields = {key: one_line(redact(str(value))) for key, value in record["extra"].items() if key in EXTRA}
    if current := correlation_id.get():
        fields["correlation_id"] = one_line(redact_secrets(current))
    return fields


def _traceback(record: Record) -> list[str]:
    exception = record["exception"]
    if exception is None or exception.value is None:
        return []
    text = "".join(traceback.format_exception(exception.value))
    return redact(text).splitlines()


class _Intercept(logging.Handler):
    """Hands the standard library's records (uvicorn, asyncio) to our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        name = record.name

        def rename(ours: Record) -> None:
            ours["name"] = name

        logger.patch(rename).opt(exception=record.exc_info).log(level, record.getMessage())
