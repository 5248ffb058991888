"""Extractive summaries: the sentences that say most of what a text is about, in their own order."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

import msgspec

from compute_router.worker.executors.sentences import split_sentences
from compute_router.worker.stopping import CheckPoint, go_on

MIN_SENTENCES: Final = 3
MAX_SENTENCES: Final = 5
_SHARE: Final = 0.3

# The mean weight of a sentence with fewer content words counts the missing ones as zero;
# otherwise two-word sentences would win over those that say something.
_FULL_SENTENCE: Final = 8

_WORD: Final = re.compile(r"\w+(?:['’]\w+)?")  # noqa: RUF001
_STOP_WORD_LIST: Final = """
    a about above after again all also am an and any are as at be because been before being below
    between both but by can could did do does doing down during each few for from further had has
    have having he her here hers him his how i if in into is it its itself just me more most my no
    nor not now of off on once only or other our ours out over own same she should so some such than
    that the their theirs them then there these they this those through to too under until up very
    was we were what when where which while who whom why will with would you your yours
"""
_STOP_WORDS: Final = frozenset(_STOP_WORD_LIST.split())


class Summary(msgspec.Struct, frozen=True):
    """``word_count`` counts the words of the input, which are its runs of characters without space."""

    summary: str
    word_count: int


def summarize(text: str, check: CheckPoint = go_on) -> Summary:
    """Three to five whole sentences of a text; a text of up to three sentences stays as it is.

    Sentences are chosen by SumBasic (Nenkova and Vanderwende, 2005): a word weighs as much as its share
    of the text, the sentence with the highest mean weight is taken, and the words it said lose weight
    so that the next one says something else.
    """
    word_count = len(text.split())
    sentences = split_sentences(text, check)
    if len(sentences) <= MIN_SENTENCES:
        return Summary(text.strip(), word_count)
    size = max(MIN_SENTENCES, min(MAX_SENTENCES, math.ceil(len(sentences) * _SHARE)))
    chosen = _choose([_content_words(sentence, check) for sentence in sentences], size, check)
    return Summary(" ".join(sentences[index] for index in sorted(chosen)), word_count)


def _content_words(sentence: str, check: CheckPoint) -> frozenset[str]:
    check()
    return frozenset(_WORD.findall(sentence.lower())) - _STOP_WORDS


def _choose(sentences: list[frozenset[str]], size: int, check: CheckPoint) -> set[int]:
    counts = Counter(word for words in sentences for word in words)
    total = counts.total() or 1
    weights = {word: count / total for word, count in counts.items()}
    chosen: set[int] = set()
    for _ in range(size):
        check()
        remaining = (index for index in range(len(sentences)) if index not in chosen)
        # On equal weight the earlier sentence wins, as max() keeps the first.
        best = max(remaining, key=lambda index: _mean_weight(sentences[index], weights))
        chosen.add(best)
        for word in sentences[best]:
            weights[word] **= 2
    return chosen


def _mean_weight(words: frozenset[str], weights: dict[str, float]) -> float:
    # math.fsum does not depend on the order of the set, which changes from one process to the next.
    return math.fsum(weights[word] for word in words) / max(len(words), _FULL_SENTENCE)
