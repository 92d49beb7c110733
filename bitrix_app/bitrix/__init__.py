"""The Bitrix24 room: what a portal tells us, how we speak to it, and nothing of what it means."""
