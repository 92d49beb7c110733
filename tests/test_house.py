"""The rules of the house that no other tool checks."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_setting_is_documented_in_both_places() -> None:
    from bitrix_app.settings import NAMES

    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert re.search(rf"^#?\s*{name}=", example, re.MULTILINE), f"{name} is missing in .env.example"
        assert f"`{name}`" in readme, f"{name} is missing in README.md"


def test_every_dependency_is_locked_with_hashes_and_without_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    for requirement in wanted:
        name = re.split(r"[\[<>=~]", requirement)[0].lower().replace("_", "-")
        assert re.search(rf"^{re.escape(name)}==[^\n]+\\\n\s+--hash=sha256:", lock, re.MULTILINE), name
    assert "://" not in lock


def test_rooms_stay_rooms() -> None:
    """A file that grows past 450 lines has two subjects (design.md §3)."""
    for package in ("bitrix_app", "unitalk", "storage"):
        for file in (ROOT / package).rglob("*.py"):
            assert len(file.read_text(encoding="utf-8").splitlines()) <= 450, file
