"""Sentiment of English text, by TextBlob's lexicon."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from textblob.sentiments import PatternAnalyzer

from compute_router.worker.stopping import CheckPoint, go_on

NEUTRAL_BELOW: Final = 0.1
"""A mean polarity nearer to zero than this is neutral."""

# TextBlob's tokenizer takes time that grows with the square of the text on some inputs.
_CHUNK_CHARS: Final = 4096


class Sentiment(msgspec.Struct, frozen=True):
    """``confidence`` is how far inside its class the text's polarity lies.

    It is 0 on the border between two classes and 1 at the far end: polarity 1 for positive, -1 for
    negative, 0 for neutral. A neutral text without a single word of the lexicon has confidence 0, because
    nothing speaks for the verdict.
    """

    sentiment: Literal["positive", "negative", "neutral"]
    confidence: float


class SentimentClassifier:
    """Loads the lexicon once; after that it can be used from several threads."""

    def __init__(self) -> None:
        self._analyzer = PatternAnalyzer()
        # The lexicon loads on first use, and not safely if two threads are first.
        self._analyzer.analyze("good")

    def classify(self, text: str, check: CheckPoint = go_on) -> Sentiment:
        """The sentiment of the whole text: the mean over all words that the lexicon knows."""
        scores: list[float] = []
        for chunk in _chunks(text):
            check()
            scores.extend(self._scores(chunk))
        if not scores:
            return Sentiment("neutral", 0.0)
        return verdict(math.fsum(scores) / len(scores))

    def _scores(self, chunk: str) -> Iterator[float]:
        for _words, polarity, _subjectivity, _label in self._analyzer.analyze(
            chunk, keep_assessments=True
        ).assessments:
            yield float(polarity)


def verdict(polarity: float) -> Sentiment:
    """Class and confidence of a mean polarity from -1 to 1."""
    strength = min(1.0, abs(polarity))
    if strength < NEUTRAL_BELOW:
        return Sentiment("neutral", round(1 - strength / NEUTRAL_BELOW, 4))
    confidence = round((strength - NEUTRAL_BELOW) / (1 - NEUTRAL_BELOW), 4)
    return Sentiment("positive" if polarity > 0 else "negative", confidence)


def _chunks(text: str) -> Iterator[str]:
    """Pieces of bounded length, cut at a space where there is one."""
    start = 0
    while start < len(text):
        end = min(start + _CHUNK_CHARS, len(text))
        if end < len(text):
            space = max(text.rfind(mark, start, end) for mark in " \n")
            end = space + 1 if space > start else end
        yield text[start:end]
        start = end
