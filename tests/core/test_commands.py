"""Commands survive storage; a kind that nobody knows is refused by name."""

import json

import pytest

from bitrix_app.core import commands
from bitrix_app.core.commands import Finish, Register, Show

SAMPLES = [Register("2001", show=False), Finish("2001", 83, "200"), Show(("2001", "2002")), Register()]


@pytest.mark.parametrize("command", SAMPLES, ids=lambda c: c.kind)
def test_a_command_comes_back_from_json(command: commands.Command) -> None:
    stored = json.loads(json.dumps(commands.pack(command)))
    assert commands.unpack(command.kind, stored) == command


def test_keys_of_a_newer_version_are_ignored() -> None:
    assert commands.unpack("register", {"extension": "2001", "colour": "red"}) == Register("2001")


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="teleport"):
        commands.unpack("teleport", {})
