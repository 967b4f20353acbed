"""Timecodes: the clock that cameras and editors write on a film, HH:MM:SS:FF, by SMPTE ST 12-1."""

from __future__ import annotations

import re
from fractions import Fraction

#: The tag in which FFmpeg has it, on films, on tracks of their own and on files.
TIMECODE = "timecode"
_FORM = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})([:;.])(\d{1,3})")
#: Of each minute but the tenth so many numbers are dropped, for thirty frames a second that are 0.1% slower.
_DROPPED = 2
_MINUTES_OF_A_DAY = 24 * 60


def is_timecode(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


def shifted_timecode(text: str, rate: Fraction, frames: int, new_rate: Fraction) -> str:
    """The timecode so many frames later.

    Args:
        text: a timecode; a semicolon or a dot before its frames says that numbers are dropped.
        rate: frames a second that it counts.
        new_rate: those that the result counts.
    """
    found = _FORM.fullmatch(text)
    assert found
    hours, minutes, seconds, number = (int(found[place]) for place in (1, 2, 3, 5))
    count, new_count = max(1, round(rate)), max(1, round(new_rate))
    drops = found[4] != ":"
    dropped = _DROPPED * (count // 30) if drops and count % 30 == 0 else 0
    total = ((hours * 60 + minutes) * 60 + seconds) * count + number
    whole_minutes = total // (60 * count)
    total -= dropped * (whole_minutes - whole_minutes // 10)
    total = (total + frames) % ((count * 60 - dropped) * _MINUTES_OF_A_DAY + dropped * (_MINUTES_OF_A_DAY // 10))
    if dropped:
        tens, rest = divmod(total, count * 600 - 9 * dropped)
        total += 9 * dropped * tens
        if rest >= count * 60:
            total += dropped * (1 + (rest - count * 60) // (count * 60 - dropped))
    rest, number = divmod(total, count)
    number = number * new_count // count
    drops = drops and new_count % 30 == 0
    return f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}{';' if drops else ':'}{number:02}"
