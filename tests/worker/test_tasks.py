"""The built-in tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from compute_router.worker.executors.classify import SentimentClassifier, verdict
from compute_router.worker.executors.extract_json import MAX_DEPTH, extract_json
from compute_router.worker.executors.sentences import split_sentences
from compute_router.worker.executors.summarize import MAX_SENTENCES, MIN_SENTENCES, summarize

CLASSIFIER = SentimentClassifier()
QUARTER_MEGABYTE = 2**18

# Sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith paid 3.14 dollars. He left.", ["Dr. Smith paid 3.14 dollars.", "He left."]),
        ("J. R. Tolkien wrote. We read.", ["J. R. Tolkien wrote.", "We read."]),
        ("Use tools, e.g. a hammer. Stop.", ["Use tools, e.g. a hammer.", "Stop."]),
        ("See www.example.com today. Then v1.2.3 came.", ["See www.example.com today.", "Then v1.2.3 came."]),
        ('He said "Go." She went.', ['He said "Go."', "She went."]),
        ("これは文です。次の文。", ["これは文です。", "次の文。"]),
        ("A heading\n\nA sentence.", ["A heading", "A sentence."]),
        ("Wait... what? Yes…", ["Wait...", "what?", "Yes…"]),
        ("¿Qué? ¡Sí! Ça va. Überall.", ["¿Qué?", "¡Sí!", "Ça va.", "Überall."]),
        ("etc. and so on", ["etc. and so on"]),
        ("  \n ", []),
    ],
)
def test_text_is_cut_where_sentences_end(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@given(st.text())
def test_cutting_loses_nothing_but_space(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


# Summaries

ARTICLE = (
    "The river flooded the town on Monday. Flood water from the river closed the bridge. "
    "A baker sold bread. The town asked for help against the flood. Somebody lost a hat. "
    "Boats carried people over the flood water. It was cold. The river will fall by Friday. "
    "A dog barked. The bridge stays closed until the river falls."
)


def test_a_summary_is_made_of_whole_sentences_in_their_order() -> None:
    summary = summarize(ARTICLE).summary
    positions = [ARTICLE.index(sentence) for sentence in split_sentences(summary)]
    assert len(positions) == 3
    assert positions == sorted(positions)


def test_a_summary_says_what_the_text_is_about() -> None:
    summary = summarize(ARTICLE).summary
    assert "flood" in summary.lower()
    for aside in ("hat", "bread", "dog", "cold"):
        assert aside not in summary


def test_a_short_text_is_its_own_summary() -> None:
    assert summarize("  Only this. And that. ").summary == "Only this. And that."


def test_words_of_the_whole_input_are_counted() -> None:
    assert summarize("one two  three\nfour - naïve").word_count == 6


@given(
    st.lists(st.sampled_from(["Cats sleep.", "Dogs run far.", "Yes!", "It is.", "\n\n", "Ünïcode 東京。"]))
)
def test_summaries_are_never_longer_than_their_bound(parts: list[str]) -> None:
    text = " ".join(parts)
    result = summarize(text)
    sentences = split_sentences(text)
    assert len(result.summary.split()) <= result.word_count
    assert len(split_sentences(result.summary)) <= MAX_SENTENCES
    if len(sentences) > MIN_SENTENCES:
        assert len(split_sentences(result.summary)) >= MIN_SENTENCES


@given(st.text())
def test_any_text_can_be_summarized(text: str) -> None:
    result = summarize(text)
    assert result.word_count == len(text.split())


# Sentiment


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("I love this, it is wonderful!", "positive"),
        ("What a terrible, awful day.", "negative"),
        ("This is not good.", "negative"),
        ("The meeting is at five.", "neutral"),
        ("", "neutral"),
    ],
)
def test_sentiment_follows_the_words(text: str, sentiment: str) -> None:
    assert CLASSIFIER.classify(text).sentiment == sentiment


def test_a_text_without_known_words_is_neutral_without_confidence() -> None:
    assert CLASSIFIER.classify("Das Treffen ist um fünf.").confidence == 0


@given(st.floats(min_value=-1, max_value=1))
def test_every_polarity_has_a_verdict_with_confidence_from_0_to_1(polarity: float) -> None:
    result, mirrored = verdict(polarity), verdict(-polarity)
    assert 0 <= result.confidence <= 1
    assert result.confidence == mirrored.confidence
    assert (result.sentiment == "neutral") == (mirrored.sentiment == "neutral")


@pytest.mark.parametrize(
    ("polarity", "confidence"), [(1, 1), (-1, 1), (0, 1), (0.1, 0), (-0.1, 0), (0.55, 0.5)]
)
def test_confidence_grows_from_the_border_to_the_far_end(polarity: float, confidence: float) -> None:
    assert verdict(polarity).confidence == confidence


@given(st.text())
@example("a-00193480")
def test_any_text_has_a_sentiment(text: str) -> None:
    assert 0 <= CLASSIFIER.classify(text).confidence <= 1


def test_a_long_text_is_judged_as_a_whole() -> None:
    praise, filler = "It is great. ", "The meeting is at five. "
    assert CLASSIFIER.classify(filler * 2000 + praise).sentiment == "positive"


# JSON in prose

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
json_containers = st.lists(json_values, max_size=4) | st.dictionaries(st.text(), json_values, max_size=4)
prose = st.text(alphabet=st.characters(exclude_characters='{[}]"', exclude_categories=["Cs"]))


@given(st.lists(st.tuples(prose, json_containers)), prose, st.booleans())
def test_everything_embedded_in_prose_is_found(
    embedded: list[tuple[str, Any]], tail: str, ascii_only: bool
) -> None:
    text = "".join(before + json.dumps(value, ensure_ascii=ascii_only) for before, value in embedded) + tail
    result = extract_json(text)
    assert result.extracted == [value for _, value in embedded]
    assert result.count == len(embedded)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("nothing here", []),
        ('a {"b": {"c": [1, {"d": "}"}]}} e', [{"b": {"c": [1, {"d": "}"}]}}]),
        ("[1] and [2]", [[1], [2]]),
        ("[][]{}", [[], [], {}]),
        (r'{"quote": "\"}{\\"}', [{"quote": '"}{\\'}]),
        ('see [figure 1] and {"a": 1}', [{"a": 1}]),
        ('{broken, but {"a": 1} inside', [{"a": 1}]),
        ("[1, [2], [3], oops", [[2], [3]]),
        ('{"open": [1, 2], "never": ', [[1, 2]]),
        ('["not closed {"a": 1}', [{"a": 1}]),
        ('[see "x] and {"a": [1]}', [{"a": [1]}]),
        ("[1,] {\"a\":} [01] [1.] [.5] [+1] [truex] ['a']", []),
        ("[NaN] [Infinity] [-Infinity]", []),
        ('[1e999] {"a": 1}', [{"a": 1}]),
        (r'["\ud800"] [1]', [[1]]),
        ('["line\nbreak"] [1]', [[1]]),
        (r'["bad \x escape"] [1]', [[1]]),
        ("[1}{2]", []),
        ("[-0.5e+2, null, true, false]", [[-50.0, None, True, False]]),
        ("]}[ 1 ]", [[1]]),
        ("[18446744073709551616]", [[18446744073709551616]]),
    ],
)
def test_objects_and_arrays_are_found_where_they_are(text: str, values: list[Any]) -> None:
    assert extract_json(text).extracted == values


@given(st.text(alphabet='[]{}",:\\1a \n'))
def test_any_text_can_be_searched_and_the_output_is_json(text: str) -> None:
    result = extract_json(text)
    assert result.count == len(result.extracted)
    assert json.loads(json.dumps(result.extracted, allow_nan=False)) == result.extracted


@given(st.text(alphabet='[]{}",:\\1a \n'))
def test_what_is_found_is_what_trying_every_bracket_in_turn_would_find(text: str) -> None:
    found, position = [], 0
    while position < len(text):
        try:
            if text[position] not in "[{":
                raise ValueError
            value, position = json.JSONDecoder().raw_decode(text, position)
            found.append(value)
        except ValueError:
            position += 1
    assert extract_json(text).extracted == found


def test_values_nested_too_deep_are_left_out_as_a_whole() -> None:
    def nested(depth: int) -> str:
        return "[" * depth + "]" * depth

    assert extract_json(nested(MAX_DEPTH)).count == 1
    assert extract_json(nested(MAX_DEPTH + 1) + " [1]").extracted == [[1]]


@pytest.mark.parametrize(
    "pattern", ["[", '["', '["[",', '{"a":', "[1,", '"[', '["\\"', '{"[":{"{":[1,', "[]", "{"]
)
def test_a_long_text_of_hostile_brackets_is_searched_to_its_end(pattern: str) -> None:
    text = (pattern * (QUARTER_MEGABYTE // len(pattern)))[: QUARTER_MEGABYTE - 20] + ' " "" x {"last":1}'
    assert {"last": 1} in extract_json(text).extracted
