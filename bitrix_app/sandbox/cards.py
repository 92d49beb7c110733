"""Call cards on the screens of users (bitrix24.md §6.3): which are open, and what became of the others."""

from __future__ import annotations

from dataclasses import dataclass

from bitrix_app.sandbox.world import World


@dataclass(frozen=True, slots=True)
class CardStep:
    """A card came onto a user's screen (`opened`) or left it."""

    at: float
    call_id: str
    user_id: int
    opened: bool


def open_card(world: World, call_id: str, user_id: int) -> None:
    """One card per call and user."""
    if (call_id, user_id) not in world.state.cards:
        world.state.cards.append((call_id, user_id))
        world.state.card_log.append(CardStep(world.now(), call_id, user_id, opened=True))


def close_cards(world: World, call_id: str, users: list[int] | None = None) -> None:
    """The card leaves these users' screens, or everybody's."""
    gone = [card for card in world.state.cards if card[0] == call_id and (users is None or card[1] in users)]
    for _, user_id in gone:
        world.state.card_log.append(CardStep(world.now(), call_id, user_id, opened=False))
    world.state.cards[:] = [card for card in world.state.cards if card not in gone]


def viewers(world: World, call_id: str) -> set[int]:
    """Everybody who ever saw the call's card."""
    return {step.user_id for step in world.state.card_log if step.call_id == call_id}
