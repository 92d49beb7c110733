"""What the house asks of its memory about agents' statuses; part of `core.store`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bitrix_app.core.agents import AgentStatus, AgentTrouble


class AgentUnit(Protocol):
    """Verbs inside one transaction."""

    async def agent_status(self, portal: str, extension: str) -> AgentStatus | None: ...

    async def agent_statuses(self, portal: str) -> Sequence[AgentStatus]:
        """All of the portal, in order of extensions."""
        ...

    async def save_agent_status(self, status: AgentStatus) -> None: ...

    async def drop_agent_status(self, portal: str, extension: str) -> None: ...

    async def hasten_agents(self, portal: str, extensions: Sequence[str], now: float) -> int:
        """Let the waiting job of each of these agents be due now; the number of those that were not."""
        ...


class AgentReader(Protocol):
    """Verbs that are transactions of their own."""

    async def agent_statuses(self, portal: str) -> Sequence[AgentStatus]:
        """All of the portal, in order of extensions."""
        ...

    async def available_agents(self, portal: str) -> Sequence[AgentStatus]:
        """Agents whom a dialer may count on now: desired at work, last acknowledged so by the PBX, not
        on the phone, not out. None where statuses are not synchronised (`status_sync`): then the PBX
        alone knows, and whoever asks must decide that beforehand.
        """
        ...

    async def agent_troubles(self, portal: str) -> Sequence[AgentTrouble]:
        """Agents whose status the PBX does not take: the retry list's entries of kind `agent_status`."""
        ...
