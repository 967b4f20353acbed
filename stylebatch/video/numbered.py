"""Names of numbered pictures: `shot/%05d.png`, `shot/####.exr`, or a folder that holds them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stylebatch.errors import StylebatchError
from stylebatch.images.formats import PICTURE_SUFFIXES

#: Extensions of the pictures that a sequence is read from and written to, with what they are called.
PICTURES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".exr": "EXR"}
#: Those of other pictures. An animated GIF is a film.
_OTHERS = PICTURE_SUFFIXES - PICTURES.keys() - {".gif"}
_PATTERN = re.compile(r"(?P<before>.*)%(?:0(?P<digits>\d+))?d(?P<after>[^%]*)", re.DOTALL)
_HASHES = re.compile(r"(?P<before>[^#]*)(?P<hashes>#+)(?P<after>[^#]*)", re.DOTALL)
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<after>\D*)", re.DOTALL)


@dataclass(frozen=True)
class Numbered:
    """Pictures of one folder whose names differ by a number.

    Attributes:
        before, after: what stands around the number in a name.
        digits: of a number at least, filled up with zeros.
    """

    folder: Path
    before: str
    digits: int
    after: str

    @property
    def path(self) -> Path:
        """As a pattern."""
        return self.folder / f"{self.before}%{f'0{self.digits}' if self.digits > 1 else ''}d{self.after}"

    @property
    def format(self) -> str:
        """One of PNG, TIFF, JPEG and EXR."""
        return PICTURES[Path(self.after).suffix.lower() or self.after.lower()]

    def name(self, number: int) -> str:
        return f"{self.before}{number:0{self.digits}}{self.after}"

    def picture(self, number: int) -> Path:
        return self.folder / self.name(number)

    def numbers(self) -> list[int]:
        """Of the pictures that are there, in order."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError as error:
            raise StylebatchError(f"{self.folder}: {(error.strerror or 'cannot be read').lower()}") from None
        middle = slice(len(self.before), -len(self.after))
        found = (name[middle] for name in names if name.startswith(self.before) and name.endswith(self.after))
        return sorted(int(text) for text in found if text.isascii() and text.isdigit() and self._is_written(text))

    def _is_written(self, text: str) -> bool:
        return text == f"{int(text):0{self.digits}}"


def pattern_of(path: Path | str) -> Numbered | None:
    """The numbered pictures that a pattern means; None if it is none, or the name of a file that is there.

    Raises:
        StylebatchError: they are of a format in which sequences are not read or written.
    """
    path = Path(path)
    found = _PATTERN.fullmatch(path.name) or _HASHES.fullmatch(path.name)
    if not found or path.suffix.lower() not in PICTURES.keys() | _OTHERS or path.is_file():
        return None
    if path.suffix.lower() in _OTHERS:
        kinds = list(dict.fromkeys(PICTURES.values()))
        raise StylebatchError(f"{path}: numbered pictures are {', '.join(kinds[:-1])} or {kinds[-1]}; give one of these")
    parts = found.groupdict()
    digits = len(parts["hashes"]) if "hashes" in parts else int(parts["digits"] or 1)
    return Numbered(path.parent, parts["before"], digits, parts["after"])


def sequence_of(path: Path | str) -> Numbered | None:
    """The numbered pictures that a path means: a pattern, or a folder with several pictures, all of them numbered. None if
    there are none.

    Raises:
        StylebatchError: a folder holds several sequences.
    """
    path = Path(path)
    if not path.is_dir():
        return pattern_of(path)
    found: dict[tuple[str, str], list[str]] = {}
    for name in sorted(each.name for each in path.iterdir() if each.suffix.lower() in PICTURES):
        parts = _NUMBERED.fullmatch(name)
        if parts is None:
            return None
        found.setdefault((parts["before"], parts["after"]), []).append(parts["number"])
    sequences = [
        Numbered(path, before, len(numbers[0]) if any(number[0] == "0" for number in numbers) else 1, after)
        for (before, after), numbers in found.items()
        if len(numbers) > 1
    ]
    if len(found) > 1 and sequences:
        names = ", ".join(str(each.path) for each in sequences[:3])
        raise StylebatchError(f"{path}: holds several sequences of pictures; give one of them, such as {names}")
    return sequences[0] if sequences else None
