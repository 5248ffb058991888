"""A request and an answer as the resources see them, without the wire around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from tornado.httputil import HTTPHeaders

from compute_router.protocol.errors import (
    ComputeRouterError,
    MalformedJsonError,
    RequestError,
    UnsupportedMediaTypeError,
)
from compute_router.transport.complaints import complaint

T = TypeVar("T")

_MAX_QUERY_FIELDS: Final = 32


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer. ``body`` is JSON bytes; ``headers`` come on top of the usual ones."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class SlowReaderError(ComputeRouterError):
    """A stream's client does not take its pieces as fast as they come, and must be cut off."""

    code = "slow_reader"


class Stream(msgspec.Struct, frozen=True):
    """An answer that is sent piece by piece. The request ends when the pieces do.

    ``close`` is called at the end in any case, also if not a single piece was asked for.
    """

    content_type: str
    pieces: AsyncIterator[bytes]
    close: Callable[[], None]


class Request:
    """One HTTP request with its whole body, and the address that sent it."""

    __slots__ = ("address", "body", "cost", "headers", "method", "path", "query_string")

    def __init__(self, method: str, target: str, headers: HTTPHeaders, address: str = "") -> None:
        self.address = address
        self.method = method
        self.path, _, self.query_string = target.partition("?")
        self.headers = headers
        self.body = b""
        self.cost = "read"
        """Which of the limits of ``endpoint_limits`` the request counts for."""

    def query(self, name: str) -> str | None:
        """The value of a query parameter, or None.

        Raises:
            RequestError: the query cannot be read, or names the parameter twice.
        """
        if not self.query_string:
            return None
        try:
            fields = parse_qsl(
                self.query_string,
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=_MAX_QUERY_FIELDS,
            )
        except ValueError:
            raise RequestError("The query string cannot be read.") from None
        values = [value for key, value in fields if key == name]
        if len(values) > 1:
            raise RequestError(f"The query names {name} more than once.")
        return values[0] if values else None

    def required_query(self, name: str) -> str:
        """The value of a query parameter.

        Raises:
            RequestError: it is missing or empty.
        """
        value = self.query(name)
        if not value:
            raise RequestError(f"The query parameter {name} is missing.")
        return value

    def json(self, decode: Callable[[bytes], T]) -> T:
        """The body, decoded and checked.

        Raises:
            UnsupportedMediaTypeError: the body is declared as something other than JSON.
            MalformedJsonError: the body is no UTF-8 JSON, or nested too deeply.
            RequestError: it is JSON, but not what this request needs.
        """
        declared = self.headers.get("Content-Type")
        if declared is None:
            # Any web page may send a body without a type, and its browser does not ask us first.
            is_json = "Origin" not in self.headers
        else:
            is_json = declared.partition(";")[0].strip().lower() == "application/json"
        if not is_json:
            raise UnsupportedMediaTypeError("Send the body as application/json.")
        return decode_json(self.body, decode)


def decode_json(data: bytes, decode: Callable[[bytes], T], where: str = "") -> T:
    """Decode and check JSON; ``where`` names the part of the body in error messages.

    Raises:
        MalformedJsonError: the bytes are no UTF-8 JSON, or nested too deeply.
        RequestError: they are JSON, but not what ``decode`` expects.
    """
    try:
        # Raw parts are passed on unread, so their encoding has to be checked here.
        data.decode("utf-8")
        return decode(data)
    except msgspec.ValidationError as error:
        raise RequestError(f"{where}{complaint(error)}") from None
    except UnicodeDecodeError:
        raise MalformedJsonError("The body is not valid UTF-8.") from None
    except msgspec.DecodeError as error:
        raise MalformedJsonError(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise MalformedJsonError("The body is nested too deeply.") from None


_ENCODER: Final = msgspec.json.Encoder()


def json_answer(value: Any, status: int = 200) -> Answer:
    """An answer whose body is a struct in JSON."""
    return Answer(status, _ENCODER.encode(value))
