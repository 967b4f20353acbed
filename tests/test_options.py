"""What is declared of an option decides what is refused, what is told of it, and what a changed one does anew."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from stylebatch.errors import StylebatchError
from stylebatch.options import Options, Runtime, option
from stylebatch.video.options import VideoOptions
from trainer.config import IDENTITY, FitConfig


@dataclass(frozen=True)
class Some(Options):
    """Some options."""

    share: float = option(0.5, "How much.", least=0, most=1)
    rate: Fraction | None = option(None, "How often.", above=0, most=9, unset="never")
    count: int = option(1, "How many.", least=1, result=False)
    length: float = option(1.0, "How long.", above=0)
    way: str = option("up", "Where to.", choices=("up", "down"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 1.5}, "share 1.5: must be from 0 to 1"),
        ({"share": float("nan")}, "share nan: must be from 0 to 1"),
        ({"rate": Fraction(0)}, "rate 0: must be above 0 and at most 9"),
        ({"rate": Fraction(10)}, "rate 10: must be above 0 and at most 9"),
        ({"count": 0}, "count 0: must be at least 1"),
        ({"length": 0.0}, "length 0: must be above 0"),
        ({"length": float("inf")}, "length inf: must be above 0"),
        ({"way": "left"}, "way left: unknown; choose from up, down"),
    ],
)
def test_what_the_declaration_excludes_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(StylebatchError, match=f"^{message}$"):
        Some(**wrong)  # type: ignore[arg-type]


def test_settings_are_what_makes_another_result() -> None:
    assert Some(rate=Fraction(3, 2), count=7).as_settings() == {
        "share": 0.5, "rate": "3/2", "length": 1.0, "way": "up"
    }  # fmt: skip
    assert "max_megapixels" not in VideoOptions().as_settings()
    assert VideoOptions(on_corrupt="repeat").as_settings() == VideoOptions().as_settings()
    longer = FitConfig(style=Path("a.jpg"), steps=700, workers=0)
    assert "workers" not in longer.as_settings()
    assert longer.as_settings()["steps"] == 700
    assert not {"style", "content", "steps", "epochs", "workers"} & set(IDENTITY)
    assert {"seed", "width", "style_weight"} < set(IDENTITY)


def test_the_docstring_tells_of_each_field() -> None:
    assert "rate: How often; above 0 and at most 9; None: never." in str(Some.__doc__)


@pytest.mark.parametrize("wrong", [{"device": "gpu"}, {"backend": "tpu"}, {"precision": "int8"}])
def test_a_runtime_is_one_that_there_is(wrong: dict[str, str]) -> None:
    with pytest.raises(StylebatchError, match=f"{next(iter(wrong))} .*{next(iter(wrong.values()))}"):
        Runtime(**wrong)
