"""The operator's settings: every fault at once, no value repeated, every name documented."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bitrix_app.settings import MENDS, NAMES, PREFIXES, Settings, SettingsError, load
from bitrix_app.settings import alone as only_given

ROOT = Path(__file__).parents[1]
KEY = "a-key-of-more-than-thirty-two-characters"
GOOD = {
    "APP_BASE_URL": "https://calls.example.com/",
    "APP_SECRET_KEYS": KEY,
    "BITRIX_CLIENT_ID": "local.1",
    "BITRIX_CLIENT_SECRET": "client-canary",
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory and none of our names around."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.upper().startswith(PREFIXES) or name.upper() in NAMES:
            monkeypatch.delenv(name)


def env(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def faults(*, serving: bool = True) -> list[str]:
    with pytest.raises(SettingsError) as stopped:
        load(serving=serving)
    return list(stopped.value.faults)


def test_the_defaults_are_those_of_the_interface() -> None:
    settings = load()
    assert settings.database_url.get_secret_value() == "sqlite:///data/unitalk.db"
    assert settings.bitrix_auth_servers == ("https://oauth.bitrix24.tech", "https://oauth.bitrix.info")
    assert settings.unitalk_api_url == "https://api.unitalk.cloud/api"
    assert settings.bx24_js_url == "https://api.bitrix24.com/api/v1/"
    assert settings.unitalk_recording_hosts == ("unitalk.cloud", "*.unitalk.cloud", "cstat.nextel.com.ua")
    assert (settings.lease_seconds, settings.unitalk_timezone) == (60, "Europe/Kyiv")
    assert (settings.log_level, settings.log_format, settings.allow_loopback) == ("INFO", "text", False)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("LEASE_SECONDS=30\nLOG_LEVEL=debug\nLOG_FORMAT=json\n")
    env(monkeypatch, LEASE_SECONDS="90", LOG_FORMAT="")
    settings = load()
    assert (settings.lease_seconds, settings.log_level, settings.log_format) == (90, "DEBUG", "text")


def test_a_good_set_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    env(monkeypatch, **GOOD | {"APP_SECRET_KEYS": f"{KEY}, {KEY[::-1]}"})
    settings = load(serving=True)
    assert settings.app_base_url == "https://calls.example.com"
    assert settings.secret_keys == (KEY, KEY[::-1])
    assert "client-canary" not in repr(settings) + str(settings)
    assert KEY not in repr(settings)


def test_every_fault_is_told_at_once_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("APP_BASE_ULR=x\nSOMETHING=1\n")
    env(
        monkeypatch,
        APP_SECRET_KEYS="short-canary",
        LEASE_SECONDS="soon-canary",
        UNITALK_API_KEY="key-canary",
        UNITALK_NONSENSE="canary",
        LOG_LEVEL="LOUD",
    )
    told = faults()
    assert [line.split(":")[0] for line in told] == [
        "APP_BASE_ULR",
        "SOMETHING",
        "UNITALK_NONSENSE",
        "APP_SECRET_KEYS",
        "UNITALK_API_KEY",
        "LEASE_SECONDS",
        "LOG_LEVEL",
        "APP_BASE_URL",
        "BITRIX_CLIENT_ID",
        "BITRIX_CLIENT_SECRET",
    ]
    assert "Did you mean APP_BASE_URL?" in told[0]
    assert all("\n" not in line for line in told)
    assert all(told[place].endswith(MENDS[told[place].split(":")[0]]) for place in range(3, 10))
    assert "canary" not in "".join(told)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_serving_wants_what_it_cannot_do_without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    env(monkeypatch, **{name: value for name, value in GOOD.items() if name != missing})
    (told,) = faults()
    assert told.startswith(f"{missing}: it is not set")
    load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_BASE_URL", "http://calls.example.com"),
        ("APP_BASE_URL", "calls.example.com"),
        ("APP_BASE_URL", "https:///path"),
        ("APP_BASE_URL", "https://u:p@calls.example.com"),
        ("APP_BASE_URL", "https://calls.example.com:99999"),
        ("APP_BASE_URL", "https://calls.example.com/?a=1"),
        ("APP_SECRET_KEYS", "x" * 31),
        ("APP_SECRET_KEYS", "x" * 40),
        ("APP_SECRET_KEYS", f"{KEY},short"),
        ("BITRIX_AUTH_SERVERS", "http://oauth.bitrix.info"),
        ("BITRIX_AUTH_SERVERS", "https://oauth.bitrix.info/rest"),
        ("BITRIX_AUTH_SERVERS", "https://oauth.bitrix.info:8443"),
        ("DATABASE_URL", "mysql://x"),
        ("UNITALK_PORTAL", "not a domain"),
        ("UNITALK_API_KEY", "key-without-portal"),
        ("UNITALK_WEBHOOK_TOKEN", "a" * 30),
        ("UNITALK_API_URL", "http://api.unitalk.cloud/api"),
        ("BX24_JS_URL", "javascript:alert(1)"),
        ("UNITALK_RECORDING_HOSTS", "unitalk.cloud,https://x"),
        ("UNITALK_TIMEZONE", "Mars/Olympus"),
        ("LEASE_SECONDS", "0"),
        ("LOG_FORMAT", "xml"),
        ("METRICS_TOKEN", "t0ken"),
        ("SMTP_URL", "https://x"),
        ("ALERT_EMAILS", "a@example.com,b"),
        ("ALLOW_LOOPBACK", "maybe"),
    ],
)
def test_a_wrong_value_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    env(monkeypatch, **GOOD | {name: value})
    (told,) = faults()
    assert told.startswith(f"{name}: ")
    assert told.endswith(MENDS[name])
    assert value not in told.removesuffix(MENDS[name]).removeprefix(name)


def test_loopback_allows_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    local = "http://127.0.0.1:9000"
    env(monkeypatch, **GOOD | {"APP_BASE_URL": local, "BITRIX_AUTH_SERVERS": local, "ALLOW_LOOPBACK": "1"})
    env(monkeypatch, UNITALK_API_URL=f"{local}/api", BX24_JS_URL=f"{local}/bx24.js")
    assert load(serving=True).bitrix_auth_servers == (local,)


def test_a_webhook_token_must_be_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    env(monkeypatch, **GOOD | {"UNITALK_PORTAL": "A.bitrix24.com", "UNITALK_WEBHOOK_TOKEN": "a1b2c3"})
    assert faults()[0].startswith("UNITALK_WEBHOOK_TOKEN: it is shorter")
    env(monkeypatch, UNITALK_WEBHOOK_TOKEN="a1b2c3d4e5f6g7h8i9j0k1")
    settings = load(serving=True)
    assert settings.is_unitalk_portal("0" * 32, "a.BITRIX24.com")
    assert not settings.is_unitalk_portal("0" * 32, "b.bitrix24.com")
    assert not load(unitalk_portal="", unitalk_webhook_token="").is_unitalk_portal("", "")


def test_given_values_stand_above_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    env(monkeypatch, LEASE_SECONDS="90")
    assert load(lease_seconds=15).lease_seconds == 15


def test_every_setting_is_in_the_example_and_the_example_has_no_other() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {line.split("=")[0] for line in lines if line and not line.startswith("#")} == set(NAMES)


def test_the_examples_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text((ROOT / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    given = load()
    unlike = [n for n in Settings.model_fields if getattr(given, n) != Settings.model_fields[n].default]
    assert unlike == ["app_base_url"]


def test_every_setting_has_a_mend_and_stands_in_the_readme() -> None:
    assert set(MENDS) == set(NAMES)
    readme = ROOT / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        assert [name for name in NAMES if name not in text] == []


def test_the_demo_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("LOG_LEVEL=nonsense\nSURPRISE=1\n", encoding="utf-8")
    monkeypatch.setenv("APP_ENV", "somebody else's")
    monkeypatch.setenv("METRICS_TOKEN", "short")
    settings = only_given(app_secret_keys="k" * 10 + "0123456789abcdefghijklmnopqrst", allow_loopback=True)
    assert settings.log_level == "INFO"
    assert settings.metrics_token.get_secret_value() == ""


def test_a_setting_that_does_nothing_yet_is_named_and_a_default_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env(monkeypatch, **GOOD)
    assert load(serving=True).idle == ()
    env(monkeypatch, SMTP_URL="smtp://mail.example.com:25", LEASE_SECONDS="60")
    assert load(serving=True).idle == ("SMTP_URL",)
