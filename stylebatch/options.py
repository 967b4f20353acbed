"""What can be asked for: of photographs, and of devices by name. Checked without loading PyTorch, which takes seconds."""

from __future__ import annotations

import re
from dataclasses import fields
from fractions import Fraction
from typing import Any

from stylebatch.errors import StylebatchError

#: The widest network that is trained and read.
MAX_WIDTH = 128
#: Of options that say what is taken or refused: what is taken comes out the same.
LIMIT = {"limit": True}
#: Of options that came later: their default is left out of the settings, so that results from before are recognised.
LATER = {"later": True}
#: By default, how much of a film's pixel comes from the frame before.
STEADY = 0.9

_DEVICE = re.compile(r"auto|cpu(:0)?|mps(:0)?|cuda(:\d+)?")


def settings_of(options: Any) -> dict[str, Any]:
    """The fields of a dataclass that are no `LIMIT`, as JSON values."""
    settings = {}
    for each in fields(options):
        value = getattr(options, each.name)
        if "limit" in each.metadata or ("later" in each.metadata and value == each.default):
            continue
        settings[each.name] = str(value) if isinstance(value, Fraction) else value
    return settings


def check_device(name: str) -> None:
    """Whether a device could have this name: "auto", "cpu", "cuda", "cuda:N", "mps", a list of them, or "all".

    Raises:
        StylebatchError: no device has.
    """
    if name != "all" and not all(_DEVICE.fullmatch(part.strip()) for part in name.split(",")):
        raise StylebatchError(f"device {name!r}: no such device; use auto, cpu, cuda, cuda:N, cuda:0,cuda:1, all or mps")
