"""Everything that can go wrong with a vendor, and what it means for the work.

```
Trouble
├── NotSent            nothing left the process                  retry        connection
├── AnswerLost         it may have arrived: doubt                doubt        timeout
├── VendorBroken       the vendor said it failed                 retry        server
├── Unavailable        recording late, vendor in maintenance     retry        availability
├── Throttled          a limit, said by the vendor or by us      later        rate_limit
├── PortalPaused       the portal cannot be used for now         later        (varies)
│   ├── NeedsReauth    no live token of an administrator         later        authentication
│   ├── PaymentNeeded  trial or subscription over                later        payment
│   └── PortalGone     app removed or portal deleted             later        not_found
├── ExpiredToken       handled by the client: refresh, replay    retry        authentication
├── UserRevoked        this administrator's pair is dead         retry        authentication
├── Refused            the vendor will never accept this         person       validation
│   ├── NotFound       what we name is not there                 person       not_found
│   ├── Conflict       it is there already                       person       conflict
│   └── Forbidden      a right or a scope is missing             person       authorization
└── Unreadable         a verdict that we do not understand       person       unknown
```

A branch says its *verdict* (what the queue does) and its *category* (what a page groups by).
Whoever catches, catches by branch; the words are for people only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Verdict(StrEnum):
    """What the queue does with a job after this trouble."""

    RETRY = "retry"
    """Try again by the schedule; the attempt counts."""
    LATER = "later"
    """Try again at a known time or when a condition ends; the attempt does not count."""
    DOUBT = "doubt"
    """The effect may have happened: find out before saying it again."""
    PERSON = "person"
    """Trying again cannot help until a person acts."""


class Who(StrEnum):
    """Who can mend it."""

    NOBODY = "nobody"
    AGENT = "agent"
    MANAGER = "manager"
    ADMIN = "admin"
    BITRIX24 = "bitrix24"
    UNITALK = "unitalk"
    US = "developer"


class Trouble(Exception):
    """A vendor did not do what we asked.

    `code` is the vendor's own code or ours, `message` what happened and `hint` what to do, both for
    people. `retry_at` (unix seconds) is the vendor's or our own wish for the next try.
    """

    verdict: ClassVar[Verdict] = Verdict.PERSON
    category: ClassVar[str] = "unknown"
    default_code: ClassVar[str] = "UNKNOWN"
    default_hint: ClassVar[str] = ""
    default_who: ClassVar[Who] = Who.US

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        who: Who | None = None,
        retry_at: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint or self.default_hint
        self.who = who or self.default_who
        self.retry_at = retry_at


class NotSent(Trouble):
    """Nothing left the process (refused, DNS, connect or pool timeout): safe to say again."""

    verdict = Verdict.RETRY
    category = "connection"
    default_code = "NOT_SENT"
    default_hint = "The connection could not be made. It is tried again by itself."
    default_who = Who.NOBODY


class AnswerLost(Trouble):
    """Sent, but no verdict came back (read timeout, reset, HTML 5xx): the effect may be there."""

    verdict = Verdict.DOUBT
    category = "timeout"
    default_code = "ANSWER_LOST"
    default_hint = "The answer was lost. We find out what happened before we say it again."
    default_who = Who.NOBODY


class VendorBroken(Trouble):
    """The vendor answered that it failed and did nothing, or the request only reads."""

    verdict = Verdict.RETRY
    category = "server"
    default_code = "VENDOR_ERROR"
    default_hint = "The other side has a fault. It is tried again by itself."
    default_who = Who.NOBODY


class Unavailable(Trouble):
    """Not there yet, or not answering for now; expected to heal by itself."""

    verdict = Verdict.RETRY
    category = "availability"
    default_code = "UNAVAILABLE"
    default_hint = "It is not available yet. It is tried again by itself."
    default_who = Who.NOBODY


class Throttled(Trouble):
    """A limit was met; `retry_at` says when the way is free again."""

    verdict = Verdict.LATER
    category = "rate_limit"
    default_code = "THROTTLED"
    default_hint = "A limit of the vendor is reached. The work goes on by itself."
    default_who = Who.NOBODY


class PortalPaused(Trouble):
    """The portal as a whole cannot be used; its work waits uncounted."""

    verdict = Verdict.LATER
    category = "availability"
    default_code = "PORTAL_PAUSED"
    default_who = Who.ADMIN


class NeedsReauth(PortalPaused):
    """No administrator's token is alive; the next administrator who opens the app heals it."""

    category = "authentication"
    default_code = "NEEDS_REAUTH"
    default_hint = "An administrator of the portal has to open the application once."


class PaymentNeeded(PortalPaused):
    """The portal's plan or trial is over."""

    category = "payment"
    default_code = "PAYMENT_REQUIRED"
    default_hint = "The Bitrix24 plan or the trial is over. Renew it; waiting work then goes on."


class PortalGone(PortalPaused):
    """The app was removed from the portal, or the portal was deleted."""

    category = "not_found"
    default_code = "PORTAL_GONE"
    default_hint = "The application is no longer installed in this portal."


class ExpiredToken(Trouble):
    """The access token is over; the client refreshes once and says the same again."""

    verdict = Verdict.RETRY
    category = "authentication"
    default_code = "expired_token"
    default_who = Who.NOBODY


class UserRevoked(Trouble):
    """This user's pair is dead (dismissed, or the refresh token was refused): another takes over."""

    verdict = Verdict.RETRY
    category = "authentication"
    default_code = "authorization_error"
    default_who = Who.ADMIN


class Refused(Trouble):
    """The vendor understood and said no: repeating it as it is cannot help."""

    verdict = Verdict.PERSON
    category = "validation"
    default_code = "REFUSED"
    default_hint = "The request was refused as it stands. See the reason, mend it, then retry."
    default_who = Who.MANAGER


class NotFound(Refused):
    category = "not_found"
    default_code = "NOT_FOUND"


class Conflict(Refused):
    category = "conflict"
    default_code = "CONFLICT"


class Forbidden(Refused):
    """A right, a scope or a key is missing."""

    category = "authorization"
    default_code = "ACCESS_DENIED"
    default_hint = "A right or a scope is missing. An administrator has to grant it."
    default_who = Who.ADMIN


class Unreadable(Trouble):
    """The vendor answered something that no page of the contract describes."""

    default_code = "UNREADABLE_ANSWER"
    default_hint = "The answer is kept in the request log. Please report it to the developers."
