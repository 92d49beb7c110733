"""Refusals of the REST layer (bitrix24.md §4.3), and the connection that is dropped on purpose."""

from __future__ import annotations

from typing import Any

STATUS_OF_CODE: dict[str, int] = {
    "expired_token": 401,
    "NO_AUTH_FOUND": 401,
    "invalid_token": 401,
    "authorization_error": 401,
    "APPLICATION_NOT_FOUND": 401,
    "ERROR_OAUTH": 401,
    "PAYMENT_REQUIRED": 401,
    "CONNECTION_ERROR": 401,
    "insufficient_scope": 403,
    "INVALID_CREDENTIALS": 403,
    "user_access_error": 403,
    "ACCESS_DENIED": 403,
    "WRONG_AUTH_TYPE": 403,
    "METHOD_CONFIRM_WAITING": 401,
    "METHOD_CONFIRM_DENIED": 403,
    "QUERY_LIMIT_EXCEEDED": 503,
    "OPERATION_TIME_LIMIT": 429,
    "OVERLOAD_LIMIT": 503,
    "INTERNAL_SERVER_ERROR": 500,
    "ERROR_UNEXPECTED_ANSWER": 500,
    "INVALID_REQUEST": 400,
    "ERROR_METHOD_NOT_FOUND": 404,
    "ERROR_BATCH_METHOD_NOT_ALLOWED": 405,
    "ERROR_BATCH_LENGTH_EXCEEDED": 400,
    "PORTAL_DELETED": 410,
    "ERROR_MANIFEST_IS_NOT_AVAILABLE": 404,
    "allowed_only_intranet_user": 403,
    # the auth server's (§3.4)
    "invalid_request": 400,
    "invalid_client": 400,
    "wrong_client": 200,
    "invalid_grant": 400,
    "invalid_scope": 403,
    "NOT_INSTALLED": 401,
}

TEXT_OF_CODE: dict[str, str] = {
    "expired_token": "The access token provided has expired.",
    "NO_AUTH_FOUND": "Wrong authorization data",
    "invalid_token": "Unable to get application by token",
    "authorization_error": "Unable to authorize user",
    "APPLICATION_NOT_FOUND": "Application not found",
    "ERROR_OAUTH": "Application not installed",
    "PAYMENT_REQUIRED": "Subscription has been ended",
    "CONNECTION_ERROR": "Error connecting to authorization server",
    "insufficient_scope": "The request requires higher privileges than provided by the access token",
    "INVALID_CREDENTIALS": "Invalid request credentials",
    "user_access_error": "The user does not have access to the application.",
    "ACCESS_DENIED": "Access denied!",
    "WRONG_AUTH_TYPE": "Current authorization type is denied for this method",
    "METHOD_CONFIRM_WAITING": "Waiting for confirmation",
    "METHOD_CONFIRM_DENIED": "Method call denied",
    "QUERY_LIMIT_EXCEEDED": "Too many requests",
    "OPERATION_TIME_LIMIT": "Method is blocked due to operation time limit.",
    "OVERLOAD_LIMIT": "REST API is blocked due to overload.",
    "INTERNAL_SERVER_ERROR": "Internal server error",
    "ERROR_UNEXPECTED_ANSWER": "Server returned an unexpected response",
    "INVALID_REQUEST": "Https required",
    "ERROR_METHOD_NOT_FOUND": "Method not found!",
    "ERROR_BATCH_METHOD_NOT_ALLOWED": "Method is not allowed for batch usage",
    "ERROR_BATCH_LENGTH_EXCEEDED": "Max batch length exceeded",
    "PORTAL_DELETED": "Portal was deleted",
    "ERROR_MANIFEST_IS_NOT_AVAILABLE": "Manifest is not available",
    "allowed_only_intranet_user": "Only intranet users are allowed",
    "invalid_request": 'No "refresh_token" parameter found',
    "invalid_client": "Invalid client secret.",
    "invalid_grant": "Invalid refresh_token.",
    "invalid_scope": "Invalid scope.",
    "NOT_INSTALLED": "Application not installed",
}


class RestError(Exception):
    """A refusal as the portal words it: `error`, `error_description` and an HTTP status.

    The status follows the code where §4.3 names one, else it is 400: telephony and CRM put almost
    everything there.
    """

    def __init__(
        self, code: str, text: str | None = None, *, status: int | None = None, **extra: Any
    ) -> None:
        self.code = code
        self.text = TEXT_OF_CODE.get(code, code) if text is None else text
        self.status = STATUS_OF_CODE.get(code, 400) if status is None else status
        self.extra = extra
        super().__init__(f"{code}: {self.text}")

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        if self.code == "wrong_client":  # §3.4: no description at all
            return {"error": self.code}
        return {"error": self.code, "error_description": self.text, **self.extra}


def core_error(text: str) -> RestError:
    """Telephony packs everything into `ERROR_CORE` with a text (§4.3, §6)."""
    return RestError("ERROR_CORE", text)


class ConnectionDropped(ConnectionError):
    """The emulator closed the connection without an answer.

    On a real socket nobody sees this exception, the client sees a closed connection. Without a
    socket (`httpx.ASGITransport`) it is raised to the caller, who may treat it as a lost answer.
    """
