"""A Bitrix24 portal and its auth server, emulated after `contracts/bitrix24.md`.

Good enough to trust: the demo, the journeys and the fault tests all talk to it over real sockets.
Nothing here is used by the product in production.
"""
