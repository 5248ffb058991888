"""Finding the JSON objects and arrays inside prose."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final, NamedTuple

import msgspec

from compute_router.worker.stopping import CheckPoint, go_on

MAX_DEPTH: Final = 200
"""Values nested deeper than this are left out, so that every reader of the output can read it."""

# Words in a bracketed stretch of prose may hide an opening bracket in what looked like a string. Such
# a stretch is read again from there, as long as no more than this many times the text was read again.
_REREADS: Final = 4

_TOKENS_BETWEEN_CHECKS: Final = 1024

_OPENING: Final = re.compile(r"[{\[]")
# Possessive quantifiers: a token that does not match fails without backtracking.
_TOKEN: Final = re.compile(
    r"[ \t\n\r]*+(?:"
    r"(?P<punctuation>[{}\[\],:])"
    r'|(?P<string>"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")'
    r"|(?P<scalar>(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null)(?![\w.+-]))"
    r")"
)


class Extraction(msgspec.Struct, frozen=True):
    """The values found, in the order of the text, and how many they are."""

    extracted: list[Any]
    count: int


class _Span(NamedTuple):
    start: int
    end: int
    depth: int


class _Reading(NamedTuple):
    """What one pass from an opening bracket found: whole values, and where to go on."""

    values: list[_Span]
    resume: int
    reread: int
    """Characters between ``resume`` and the place where the reading failed."""


def extract_json(text: str, check: CheckPoint = go_on) -> Extraction:
    """Every outermost JSON object and array in a text, parsed. What lies inside one is not listed again.

    Left out are values nested deeper than MAX_DEPTH, and those that no JSON reader can take in: a number
    beyond a double, half of a surrogate pair. NaN and Infinity are not JSON. The work grows linearly with
    the text, whatever it holds.
    """
    found = []
    rereads_left = _REREADS * len(text)
    position = _next_opening(text, 0)
    while position is not None:
        reading = _read(text, position, check, may_reread=rereads_left > 0)
        rereads_left -= reading.reread
        found.extend(_parse(text, reading.values))
        position = _next_opening(text, reading.resume)
    return Extraction(found, len(found))


def _next_opening(text: str, start: int) -> int | None:
    match = _OPENING.search(text, start)
    return match.start() if match else None


def _parse(text: str, spans: list[_Span]) -> list[Any]:
    values = []
    for span in spans:
        if span.depth > MAX_DEPTH:
            continue
        try:
            values.append(msgspec.json.decode(text[span.start : span.end]))
        except (msgspec.DecodeError, UnicodeEncodeError):
            continue  # right by the grammar, but it has no value: see extract_json
    return values


def _read(text: str, start: int, check: CheckPoint, *, may_reread: bool) -> _Reading:
    """Read from an opening bracket until its value ends or the grammar is broken.

    When it is broken, every container still open is broken too, since reading from its own bracket would
    have come to the same place in the same way. The containers that were closed before are whole values.
    """
    reader = _Reader()
    position = start
    check()
    for count in itertools.count(1):
        if count % _TOKENS_BETWEEN_CHECKS == 0:
            check()
        token = _TOKEN.match(text, position)
        if token is None or not reader.accept(token):
            break
        position = token.end()
        if reader.finished:
            return _Reading(reader.whole, position, 0)
    # Whatever stands at the broken place was not taken in; it may begin a value itself.
    if may_reread and reader.suspects:
        suspect = reader.suspects[0]
        return _Reading([span for span in reader.whole if span.end <= suspect], suspect, position - suspect)
    return _Reading(reader.whole, position, 0)


class _Reader:
    """A pushdown automaton for JSON with its stack in a list: depth costs memory, not recursion."""

    def __init__(self) -> None:
        self.whole: list[_Span] = []
        self.suspects: list[int] = []
        """Opening brackets inside strings that are not part of a whole value."""
        self._open: list[tuple[int, str]] = []
        self._depths: list[int] = []
        self._state = "value"

    @property
    def finished(self) -> bool:
        return not self._open and bool(self.whole)

    def accept(self, token: re.Match[str]) -> bool:
        """Take one token in; False when the grammar does not allow it here."""
        if token["string"] is not None:
            return self._accept_string(token.start("string"), token["string"])
        if token["scalar"] is not None:
            return self._accept_value()
        mark, at = token["punctuation"], token.start("punctuation")
        if mark in "{[":
            return self._open_container(mark, at)
        if mark in "}]":
            return self._close_container(mark, at)
        return self._accept_separator(mark)

    def _accept_string(self, at: int, string: str) -> bool:
        bracket = _OPENING.search(string)
        if self._state in ("key", "first key"):
            self._state = "colon"
        elif not self._accept_value():
            return False
        if bracket:
            self.suspects.append(at + bracket.start())
        return True

    def _accept_value(self) -> bool:
        if self._state not in ("value", "first value"):
            return False
        self._state = "next"
        return True

    def _open_container(self, mark: str, at: int) -> bool:
        if self._state not in ("value", "first value"):
            return False
        self._open.append((at, mark))
        self._depths.append(1)
        self._state = "first key" if mark == "{" else "first value"
        return True

    def _close_container(self, mark: str, at: int) -> bool:
        start, opening = self._open[-1]
        empty = "first key" if opening == "{" else "first value"
        if (opening + mark) not in ("{}", "[]") or self._state not in ("next", empty):
            return False
        self._open.pop()
        depth = self._depths.pop()
        if self._depths:
            self._depths[-1] = max(self._depths[-1], depth + 1)
        while self.whole and self.whole[-1].start > start:
            self.whole.pop()
        while self.suspects and self.suspects[-1] > start:
            self.suspects.pop()
        self.whole.append(_Span(start, at + 1, depth))
        self._state = "next"
        return True

    def _accept_separator(self, mark: str) -> bool:
        in_object = self._open[-1][1] == "{"
        if mark == ":":
            if self._state != "colon":
                return False
            self._state = "value"
            return True
        if self._state != "next":
            return False
        self._state = "key" if in_object else "value"
        return True
