"""Refusals of the API: a status, a message, and errors per parameter."""

from collections.abc import Mapping


class ApiError(Exception):
    """An answer other than 200. The reason phrase is the first line of the message, as in the real server."""

    def __init__(self, status: int, message: str, errors: Mapping[str, str] | None = None, *, bare: bool = False):
        """`bare`: the body is not the usual object but empty (401) or the plain message (transport errors)."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = dict(errors) if errors is not None else None
        self.bare = bare

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self.message.split("\n", 1)[0]


def fail(message: str) -> ApiError:
    """The 500 that a failing operation is, missing and duplicate objects included."""
    return ApiError(500, message)


def bad_params(errors: Mapping[str, str]) -> ApiError:
    """400, with a text per parameter."""
    return ApiError(400, "Parameter verification failed.", errors)


def hidden_bad_param(name: str, text: str) -> ApiError:
    """Some checks raise their 400 inside another call: 500, and the detail only in the message."""
    return ApiError(500, f"400 Parameter verification failed.\n{name}: {text}")


def denied(detail: str = "") -> ApiError:
    """403 in the words of the real server."""
    return ApiError(403, "Permission check failed" + (f" ({detail})" if detail else ""))
