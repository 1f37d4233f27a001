"""What the API server answers when it does not grant a request, by what can be done about it."""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """A request that the API server did not grant."""

    def __init__(self, status: int, reason: str, message: str, object: str) -> None:
        super().__init__(f"{object}: {message}")
        self.status, self.reason, self.message, self.object = status, reason, message, object
        self.wait: float | None = None
        """Seconds after which the object wants to be looked at again, whatever becomes of this."""


class Unreachable(ApiError):
    """No answer came."""


class Fenced(ApiError):
    """The request was not sent: this process does not lead."""


class Refused(ApiError):
    """The object is not accepted as it is (400): repeating will not help."""


class Forbidden(Refused):
    """A right is missing, a quota is used up, or admission said no (403)."""


class NotFound(Refused):
    """The object, its namespace or its kind does not exist (404)."""


class Invalid(Refused):
    """A field is wrong (422)."""


class Failed(ApiError):
    """The API server, or a webhook that it asks, could not answer (5xx): repeating may help."""


class Conflict(ApiError):
    """The object changed since it was read, or a field belongs to another manager (409)."""


class AlreadyExists(ApiError):
    """An object of that name exists (409)."""


class Gone(ApiError):
    """The resourceVersion is too old to watch from (410)."""


BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Refused,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


def error_of(status: int, body: Mapping[str, Any], object: str) -> ApiError:
    """The error of an answer with that status code and body about `object`."""
    reason = str(body.get("reason") or "ApiError")
    error = AlreadyExists if reason == "AlreadyExists" else BY_STATUS.get(status, Failed if status >= 500 else ApiError)
    if "failed to create typed patch object" in str(body.get("message")):
        error = Invalid  # a list with a key twice, or a field that does not exist, is answered with 500
    return error(status, reason, str(body.get("message") or f"the API server answered {status}"), object)
