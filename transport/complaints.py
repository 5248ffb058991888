"""What msgspec found wrong with somebody's JSON, as a sentence for him that does not repeat his data."""

from __future__ import annotations

import re
from typing import Final

_MAX_CHARS: Final = 300
# msgspec quotes what was sent in these two complaints, and says where at the end, in names of ours.
_PLACE: Final = r" - at `\$[A-Za-z0-9_.\[\]]*`"
_UNKNOWN_FIELD: Final = re.compile(f"Object contains unknown field `(.*?)`(?:{_PLACE})?", re.DOTALL)
_ENUM_VALUE: Final = re.compile(f"Invalid enum value .*?({_PLACE})?", re.DOTALL)
# A regular expression is no sentence.
_FORM: Final = re.compile(rf"Expected `str` matching regex .*?({_PLACE})?", re.DOTALL)
# A misspelt name is worth repeating; what does not look like a name may be anything.
_NAME: Final = re.compile(r"[A-Za-z_]\w{0,31}", re.ASCII)


def complaint(error: Exception) -> str:
    """The error as a sentence. It may end up in the log of whoever sent the data, so it holds none of it."""
    text = str(error)
    if unknown := _UNKNOWN_FIELD.fullmatch(text):
        if not _NAME.fullmatch(unknown[1]):
            text = text.replace(f"unknown field `{unknown[1]}`", "an unknown field", 1)
    elif value := _ENUM_VALUE.fullmatch(text):
        text = f"Invalid enum value{value[1] or ''}"
    elif form := _FORM.fullmatch(text):
        text = f"Expected text of another form{form[1] or ''}"
    return f"{text}." if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
