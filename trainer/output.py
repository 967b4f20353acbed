"""The folder that a training writes to: whether it can, alone, and what earlier trainings left there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stylebatch.checkpoint import Checkpoint, is_plain_name, load_checkpoint
from stylebatch.errors import OutputError, StylebatchError
from stylebatch.files import file_digest
from stylebatch.images.decoding import open_image
from stylebatch.locking import Log
from stylebatch.manifest import digest_of
from trainer.config import IDENTITY, FitConfig
from trainer.content import PACKAGED
from trainer.report import COLUMNS, is_ours
from trainer.terms import SHOWN

#: What a training leaves beside its checkpoints and their pictures, as `{name}_{ending}`.
PREVIEW, LOSSES_FILE = "preview.jpg", "losses.csv"
_BESIDE = (PREVIEW, LOSSES_FILE, *(f"{loss}_loss.png" for loss in SHOWN))


def readable(name: str) -> str:
    """A file's name as text that headers and terminals can show."""
    name = os.fsencode(name).decode("utf-8", "replace")
    return "".join(character if character == "." or is_plain_name(character) else "\ufffd" for character in name)


class Output:
    """What one training of `config.style.stem` has in `config.out`.

    Args:
        photographs: what it learns on.
        last_epoch: the number of its last checkpoint.
    """

    def __init__(self, config: FitConfig, photographs: list[Path], last_epoch: int) -> None:
        self.config = config
        self.name = config.style.stem
        self.last_epoch = last_epoch
        self.style = config.out / f"{self.name}.safetensors"
        root = config.content or PACKAGED
        names = [readable(os.path.relpath(path, root)) for path in photographs]
        #: What a checkpoint tells of its training, so that another one is not taken for it.
        self.origin: dict[str, Any] = {
            "painting": file_digest(config.style),
            "photographs": digest_of(names),
            "config": config.as_metadata(),
        }

    def path(self, ending: str) -> Path:
        return self.config.out / f"{self.name}_{ending}"

    def checkpoints(self) -> list[Path]:
        return self._numbered("trans_net", "pth")

    def _numbered(self, kind: str, extension: str) -> list[Path]:
        pattern = re.compile(re.escape(self.name) + rf"_{kind}_\d+\.{extension}")
        return sorted(path for path in self.config.out.iterdir() if pattern.fullmatch(path.name))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within the block no other training of this name writes there.

        Raises:
            OutputError: one does, or the folder or one of the names cannot be written.
        """
        new = not self.config.out.exists()
        lock = Log(self.config.out / f".{self.name}.lock")
        try:
            coming = map(self.path, (f"trans_net_{self.last_epoch}.pth", *_BESIDE))
            for path in (self.style, *coming, *self.checkpoints(), *self._numbered("fuse", "jpg")):
                self._check_name(path)
            yield
        finally:
            if lock.read():  # a file of somebody else
                lock.close()
            else:
                lock.remove()
            if new:
                with suppress(OSError):  # not empty
                    self.config.out.rmdir()

    def _check_name(self, path: Path) -> None:
        try:
            is_file = not path.exists() or path.is_file()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
        if not is_file:
            raise OutputError(f"{path}: cannot be written: a folder has this name; remove it, or give another `out`")

    def is_done(self) -> bool:
        """Whether this very training has come to its end here. To be asked before one that starts anew.

        Raises:
            StylebatchError: something else lies there, which it would replace.
        """
        saved = self.checkpoints()
        if not saved and not self.style.exists():
            for path in (*map(self.path, _BESIDE), *self._numbered("fuse", "jpg")):
                if path.exists() and not _is_of_a_training(path):
                    raise StylebatchError(f"{path}: no training wrote it; `overwrite` replaces it, another `out` keeps it")
            return False
        difference = ""
        with suppress(StylebatchError):
            before = load_checkpoint(self.style).metadata
            difference = self._difference({**before, "config": _parsed(before.get("config"))}, ("steps", "epochs"))
            if not difference:
                return True
        begun = f" `resume` goes on with it ({saved[-1].name})," if saved else ""
        raise StylebatchError(
            f"{self.config.out}: has a training of {readable(self.name)} already{difference};{begun} `overwrite` starts "
            "anew in its place, another `out` keeps both"
        )

    def _difference(self, before: dict[str, Any], more: tuple[str, ...] = ()) -> str:
        """What differs in a training's metadata, in words; empty if it is this one."""
        if before.get("painting", self.origin["painting"]) != self.origin["painting"]:
            return ", of another painting"
        if more and before.get("photographs") != self.origin["photographs"]:
            return ", on other photographs"
        was, now = before.get("config"), self.origin["config"]
        was = was if isinstance(was, dict) else {}
        for name in (*IDENTITY, *more):
            if name not in was:
                return f", by another version, which had no `{name}`"
            if was[name] != now[name]:
                return f", with `{name}` {was[name]}, not {now[name]}"
        return ""

    def earlier(self, message: Callable[[str], None]) -> Checkpoint | None:
        """The checkpoint with the most steps, to go on from; None if there is none.

        Raises:
            StylebatchError: it is of another training, or damaged.
        """
        saved = self.checkpoints()
        if not saved:
            if self.style.exists():
                raise StylebatchError(
                    f"{self.style}: finished, and without a checkpoint to resume; `overwrite` starts anew in its place"
                )
            message(f"nothing to resume in {self.config.out}: starting anew")
            return None
        checkpoints = {path: load_checkpoint(path) for path in saved}
        for path, each in checkpoints.items():
            if type(each.training.get("step")) is not int:
                raise StylebatchError(f"{path}: no training's state is in it, so it cannot be resumed; move it away")
        path, checkpoint = max(checkpoints.items(), key=lambda item: int(item[1].training["step"]))
        if difference := self._difference(checkpoint.metadata):
            raise StylebatchError(
                f"{path}: is of a training{difference.lstrip(',')}; give what that was given, or `overwrite` or another "
                "`out` instead of `resume`"
            )
        if checkpoint.metadata.get("photographs", self.origin["photographs"]) != self.origin["photographs"]:
            message("the photographs are not those that it began with: it will not end as if it had not been stopped")
        message(f"resumed from {path} at step {checkpoint.training['step']}")
        return checkpoint

    def remove_others(self, kept: Path) -> None:
        """Take away the checkpoints and their pictures of the training whose place this one has taken."""
        fuse = kept.name.replace("_trans_net_", "_fuse_").removesuffix(".pth")
        for path in (*self.checkpoints(), *self._numbered("fuse", "jpg")):
            if path != kept and path.stem != fuse:
                path.unlink(missing_ok=True)


def _parsed(config: Any) -> Any:
    """From the JSON of a safetensors header; None if it is not JSON."""
    try:
        return json.loads(config)
    except (TypeError, ValueError):
        return None


def _is_of_a_training(path: Path) -> bool:
    try:
        if path.suffix == ".csv":
            with path.open() as file:
                return file.readline().startswith(",".join(COLUMNS[:2]))  # versions differ in the others
        with open_image(path) as image:
            return is_ours(image)
    except Exception:  # no picture, so none of ours
        return False
