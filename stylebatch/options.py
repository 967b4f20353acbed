"""What can be asked for. An option is declared once, as a field of a dataclass; commands and docs/options.md follow from it.
Nothing here loads PyTorch, which takes seconds."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, Self, get_args, get_type_hints

from stylebatch.errors import StylebatchError

#: The widest network that is trained and read.
MAX_WIDTH = 128

_DEVICE = re.compile(r"auto|cpu(:0)?|mps(:0)?|cuda(:\d+)?")


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is declared of an option beside its name, its type and its default.

    Attributes:
        help: what it does, in a line or two.
        unset: what None stands for, in words.
        metavar: what stands for the value where the usage is shown; by default it follows from the type.
        choices: the only values.
        least, above, most: the range of a number; `above` is not in it.
        unit: what may follow the number where it is typed: "px", or "%" for hundredths.
        parse: what is typed → value; raises ValueError.
        switch: whether a number may be a switch, too: on, or alone without a number, it is 1, off 0. The settings hold these
            two as true and false.
        short: one letter for it, such as "-o".
        result: whether another value makes another result; where not, an earlier one counts as done.
        later: it came when there were results already: its default is left out of the settings, so that those count on.
        recorded: what the settings hold of it although it makes no other result: what they held when it counted, so that
            earlier results count on.
        resumable: whether what a run has begun goes on with another value, although the result is another.
    """

    help: str
    unset: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    unit: str = ""
    parse: Callable[[str], Any] | None = None
    switch: bool = False
    short: str = ""
    result: bool = True
    later: bool = False
    recorded: str | None = None
    resumable: bool = False

    @property
    def range(self) -> str:
        """Where a number may lie, in words; empty without limits."""
        if self.least is None and self.above is None:
            return ""
        if self.most is None:
            return f"above {self.above}" if self.least is None else f"at least {self.least}"
        return f"above {self.above} and at most {self.most}" if self.least is None else f"from {self.least} to {self.most}"

    def refusal(self, value: Any) -> str:
        """Why a value is refused; empty if it is not."""
        if self.choices:
            return "" if value in self.choices else f"unknown; choose from {', '.join(self.choices)}"
        if not self.range:
            return ""
        over = value > self.above if self.least is None else value >= self.least
        below = value < math.inf if self.most is None else value <= self.most
        return "" if over and below else f"must be {self.range}"


STROKES = Option(
    help="How many times as wide strokes are as the style's own.",
    unset="1; in proportion on pictures of over 3,000 px",
    least=1,
    most=16,
)
STEADINESS = Option(help="How still paint holds: 0, each frame alone, to 1.", least=0, most=1, unit="%")
#: How much of a film's pixel comes from the frame before, by default.
STEADY = 0.95
#: Who decodes and encodes is in a result's settings (`images.nvjpeg.Jpegs`): the option asks for it, and may not get it.
GPU_JPEG = Option(
    help="JPEGs on an NVIDIA GPU: exact encodes, and decodes 4:4:4; all decodes 4:2:0 too, some levels off; or off.",
    choices=("exact", "all", "off"),
    result=False,
)
#: How far chroma goes back to the original's.
KEPT_COLOUR: dict[str, Any] = {"least": 0, "most": 1, "unit": "%", "switch": True}


def option(default: Any, help: str, **declared: Any) -> Any:
    """A field of an `Options` dataclass. What can be declared of it: `Option`."""
    return field(default=default, metadata={"option": Option(help=help, **declared)})


def options_of(kind: type[Any] | Any) -> dict[str, Option]:
    """The options of an `Options` dataclass by their fields' names."""
    return {each.name: each.metadata["option"] for each in fields(kind)}


def plain(value: Any) -> Any:
    """An option's value as a JSON value. Of a path, bytes that are no text are replaced."""
    return os.fsencode(value).decode("utf-8", "replace") if isinstance(value, Path) else _as_json(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, Options):
        return value.as_dict()
    return str(value) if isinstance(value, Path | Fraction) else value


#: How the types of options are called to people.
_CALLED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    Fraction: "a fraction",
}


def _from_json(where: str, hint: Any, value: Any, switch: bool = False) -> Any:
    kinds = get_args(hint) or (hint,)
    if switch and isinstance(value, bool):
        return float(value)
    if value is None and NoneType in kinds:
        return None
    (kind,) = (each for each in kinds if each is not NoneType)
    if issubclass(kind, Options):
        return kind.from_dict(value, where)
    read = {float: (int, float), Path: (str,), Fraction: (str,)}.get(kind, (kind,))
    try:
        of_kind = isinstance(value, read) and isinstance(value, bool) == (kind is bool)
        if of_kind and (kind is not float or math.isfinite(value)):
            return kind(value)
    except (ValueError, ArithmeticError):
        pass
    raise StylebatchError(f"{where}must be {_CALLED[kind]}, not {value!r:.80}")


#: The names of all options that are declared so far.
OPTION_NAMES: set[str] = set()
_ATTRIBUTES = "\n\n    Attributes:"


class Options:
    """The base of dataclasses whose fields are made by `option`.

    Raises:
        StylebatchError: a value that its field's declaration refuses.
    """

    def __init_subclass__(cls) -> None:
        """The docstring tells of the fields what is declared of them."""
        cls.__doc__ = f"{(cls.__doc__ or '').partition(_ATTRIBUTES)[0]}{_ATTRIBUTES}"
        inherited = {
            name: each for base in cls.__bases__ for name, each in getattr(base, "__dataclass_fields__", {}).items()
        }
        for name, each in {**inherited, **vars(cls)}.items():
            if isinstance(each, Field):
                OPTION_NAMES.add(name)
                declared: Option = each.metadata["option"]
                more = [declared.range, declared.unset and f"None: {declared.unset}"]
                cls.__doc__ += f"\n        {name}: {'; '.join([declared.help.rstrip('.'), *filter(None, more)])}."

    def __post_init__(self) -> None:
        for name, declared in options_of(self).items():
            value = getattr(self, name)
            if declared.switch and isinstance(value, int):
                value = float(value)
                object.__setattr__(self, name, value)
            if value is not None and (refusal := declared.refusal(value)):
                shown = f"{value:g}" if isinstance(value, float) else value
                raise StylebatchError(f"{name.replace('_', ' ')} {shown}: {refusal}")

    def as_dict(self) -> dict[str, Any]:
        """Every field as a JSON value, which `from_dict` reads."""
        return {name: _as_json(getattr(self, name)) for name in options_of(self)}

    @classmethod
    def from_dict(cls, told: object, where: str = "") -> Self:
        """The options of which `told` is the `as_dict`. Fields that it lacks have their defaults.

        Args:
            where: begins the messages.

        Raises:
            StylebatchError: an unknown field, a missing one, or a value of another type or out of its range.
        """
        if not isinstance(told, dict):
            raise StylebatchError(f"{where}must be an object with fields, not {told!r:.80}")
        hints = get_type_hints(cls)
        needed = {each.name for each in fields(cls) if each.default is MISSING}  # type: ignore[arg-type]
        for names, why in ((told.keys() - options_of(cls), "no such field"), (needed - told.keys(), "missing")):
            if names:
                raise StylebatchError(f"{where}{', '.join(f'`{name}`' for name in sorted(map(str, names)))}: {why}")
        declared = options_of(cls)
        return cls(
            **{
                name: _from_json(f"{where}`{name}`: ", hints[name], value, declared[name].switch)
                for name, value in told.items()
            }
        )

    def as_settings(self) -> dict[str, Any]:
        """What makes a result another one, as JSON values."""
        settings = {}
        for name, declared in options_of(self).items():
            value = getattr(self, name)
            if declared.result and not (declared.later and value == getattr(type(self), name)):
                settings[name] = bool(value) if declared.switch and value in (0, 1) else plain(value)
            elif declared.recorded is not None:
                settings[name] = declared.recorded
        return settings


@dataclass(frozen=True)
class Runtime(Options):
    """What computes, and how."""

    device: str = option("auto", "What computes: auto, cpu, cuda, cuda:N, cuda:0,cuda:1, all GPUs or mps.", metavar="NAME")
    backend: str = option(
        "auto",
        "With what: auto is OpenVINO on CPUs, Triton on CUDA, PyTorch elsewhere.",
        choices=("auto", "torch", "openvino", "triton"),
    )
    precision: str = option(
        "auto", "Of the computation: auto is half where that is faster.", choices=("auto", "fp32", "bf16", "fp16")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_device(self.device)


def check_device(name: str) -> None:
    """Whether a device could have this name: "auto", "cpu", "cuda", "cuda:N", "mps", a list of them, or "all".

    Raises:
        StylebatchError: no device has.
    """
    if name != "all" and not all(_DEVICE.fullmatch(part.strip()) for part in name.split(",")):
        raise StylebatchError(f"device {name!r}: no such device; use auto, cpu, cuda, cuda:N, cuda:0,cuda:1, all or mps")
