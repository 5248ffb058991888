"""The promise that lets a coordinator compare this worker's tasks with those of others."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.metadata import version

from compute_router.protocol.messages import TASKS_V1


@cache
def tasks_feature() -> str:
    """Feature under which equal payloads give equal outputs.

    The tables of Unicode and the lexicon decide over words, so their versions are part of it. The number is
    to be raised when a task's output changes.
    """
    return f"{TASKS_V1}+unicode-{unicodedata.unidata_version}+textblob-{version('textblob')}"
