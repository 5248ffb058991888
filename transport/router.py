"""Which resource serves which path and method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from compute_router.protocol.errors import MethodNotAllowedError, NotFoundError
from compute_router.transport.http_types import Answer, Request, Stream

Handler = Callable[[Request, str], Awaitable[Answer | Stream]]
"""Serves a request; the text is the variable segment of the path where the route has one, else empty."""

_VARIABLE: Final = "*"


class Router:
    """Exact paths, and paths in which the last segment or the one before it is a variable."""

    def __init__(self) -> None:
        self._routes: dict[str, dict[str, Handler]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Serve a path. A ``*`` as its last segment, or as the one before, takes any text."""
        self._routes.setdefault(path, {})[method] = handler

    def replace_handlers(self, replace: Callable[[str, str, Handler], Handler]) -> None:
        """Put something else in the place of each handler; ``replace`` is given method, path and handler."""
        for path, methods in self._routes.items():
            for method, handler in methods.items():
                methods[method] = replace(method, path, handler)

    def find(self, method: str, path: str) -> tuple[Handler, str]:
        """The handler for a request, and the variable segment.

        Raises:
            NotFoundError: no such path.
            MethodNotAllowedError: the path is not served for this method.
        """
        variable = ""
        methods = self._routes.get(path)
        if methods is None:
            parent, _, last = path.rpartition("/")
            methods = self._routes.get(f"{parent}/{_VARIABLE}") if last else None
            variable = unquote(last)
            if methods is None:
                grandparent, _, middle = parent.rpartition("/")
                methods = self._routes.get(f"{grandparent}/{_VARIABLE}/{last}") if middle else None
                variable = unquote(middle)
        if methods is None:
            raise NotFoundError("There is nothing at this address.")
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            raise MethodNotAllowedError(f"This address is served for {allowed} only.", allowed)
        return handler, variable

    def allowed(self, path: str) -> str:
        """The methods that a path is served for, for the answer to a CORS preflight.

        Raises:
            NotFoundError: no such path.
        """
        try:
            self.find("", path)
        except MethodNotAllowedError as error:
            return error.allowed
        raise NotFoundError("There is nothing at this address.")
