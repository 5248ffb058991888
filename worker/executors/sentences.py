"""Cutting text into sentences, by rules that need no model."""

from __future__ import annotations

import re
from typing import Final

from compute_router.worker.stopping import CheckPoint, go_on

# A run of marks is looked at once, from its first mark, so that "....." costs linear time.
_END: Final = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s|\Z)|[。！？]++[」』”’）]*+|\n\s*?\n")  # noqa: RUF001

_ABBREVIATION_LIST: Final = """
    mr mrs ms dr prof sr jr st rev hon gen col capt lt sgt gov sen rep pres
    e.g i.e cf vs viz al ca approx est dept fig figs eq nos vol ch sec pp ed eds
    inc ltd co corp llc u.s u.k u.n a.m p.m
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri
"""
_ABBREVIATIONS: Final = frozenset(_ABBREVIATION_LIST.split())
_LONGEST_ABBREVIATION: Final = 12


def split_sentences(text: str, check: CheckPoint = go_on) -> list[str]:
    """Sentences in their order, each without the space around it; nothing but space is left out.

    A sentence ends at ``.!?…`` before a space, at the marks of Chinese and Japanese, and at an empty
    line. A dot in a number, after a known abbreviation or an initial, or before a lowercase word ends
    nothing.
    """
    sentences = []
    start = 0
    for end in _END.finditer(text):
        check()
        if _is_dot(end.group()) and not _dot_ends_sentence(text, end.start(), end.end()):
            continue
        sentences.append(text[start : end.end()].strip())
        start = end.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence]


def _is_dot(mark: str) -> bool:
    return mark == "."


def _dot_ends_sentence(text: str, dot: int, after: int) -> bool:
    before = text[max(0, dot - _LONGEST_ABBREVIATION - 1) : dot].split()
    word = before[-1].lstrip("([\"'“‘").lower() if before else ""  # noqa: RUF001
    is_initial = len(word) == 1 and word.isalpha() and word != "i"
    if word in _ABBREVIATIONS or is_initial:
        return False
    following = text[after : after + 64].lstrip()[:1]
    return not following.islower()
