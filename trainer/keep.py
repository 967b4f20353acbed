"""Styles kept by content: a picture is trained once with the same settings, whatever its file is called."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save

from stylebatch import __version__
from stylebatch.errors import BusyError, StylebatchError
from stylebatch.files import atomic_write
from stylebatch.locking import Log
from stylebatch.system import data_folder
from trainer.config import FitConfig


class Kept:
    """The place of one training's style in the user's folder for application data.

    Args:
        config: the training; its `out` and `resume` are chosen here.

    Raises:
        StylebatchError: the picture cannot be read.
    """

    def __init__(self, config: FitConfig) -> None:
        try:
            picture = config.style.read_bytes()
        except FileNotFoundError:
            raise StylebatchError(f"{config.style}: no such style picture") from None
        except OSError as error:
            raise StylebatchError(f"{config.style}: cannot be read: {error.strerror}") from None
        identity = {"picture": hashlib.sha256(picture).hexdigest(), "version": __version__, **config.as_settings()}
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._folder = data_folder() / "paintings" / key
        self._training = self._folder / "training"
        self._style = self._folder / f"{config.style.stem}.safetensors"
        self.config = replace(config, out=self._training)

    def find(self) -> Path | None:
        """The style, under this picture's name; None if none is kept."""
        for kept in self._folder.glob("*.safetensors"):
            if kept != self._style and not self._style.exists():
                _copy(kept, self._style)
            return self._style
        return None

    def resumed(self) -> FitConfig:
        """The training, going on where an earlier one was interrupted."""
        return replace(self.config, resume=any(self._training.glob(f"{self._style.stem}_trans_net_*.pth")))

    def keep(self, trained: Path) -> Path:
        """Take a finished style; the training's other files go."""
        trained.replace(self._style)
        shutil.rmtree(self._training, ignore_errors=True)
        return self._style

    @contextmanager
    def alone(self, waiting: Callable[[], None], stop: Callable[[], bool]) -> Iterator[None]:
        """Within the block no other process trains this style. `waiting` is called if one does so now.

        Raises:
            KeyboardInterrupt: stopped while waiting.
            OutputError: the folder cannot be written.
        """
        told = False
        while True:
            try:
                lock = Log(self._folder / ".lock")
                break
            except BusyError:
                pass
            if not told:
                waiting()
                told = True
            if stop():
                raise KeyboardInterrupt
            time.sleep(0.2)
        try:
            yield
        finally:
            lock.close()


def _copy(kept: Path, named: Path) -> None:
    """The same style, called after another file of the same picture."""
    with safe_open(kept, framework="np") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = {**(file.metadata() or {}), "style": named.stem}
    with atomic_write(named) as output:
        output.write(save(tensors, header))
