"""Endpoints of trainings: a painting becomes a style, which is kept under a name."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from stylebatch.checkpoint import Checkpoint, is_plain_name, load_checkpoint, save_safetensors
from stylebatch.errors import StylebatchError
from stylebatch.images.formats import PICTURE_SUFFIXES
from stylebatch.page.browse import under
from stylebatch.page.queue import Entry
from stylebatch.page.replies import json_of
from stylebatch.page.shared import Page, in_thread
from stylebatch.styles import SUFFIXES, named_styles
from stylebatch.styles.added import add_style

_OWN = {"style", "out", "resume", "overwrite", "content"}
#: Options that may be files.
_NETWORKS = {"init", "vgg"}


class TrainingEndpoints:
    """Of one server."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def add_training(self, request: Request) -> Response:
        """Queue a training. Body: JSON with `photo`, the id of the painting among the photographs that are kept, and the
        `name` of the style to be; `content`, a folder of photographs under the root, instead of those in the package; and in
        `options` any option of `trainer fit`. Pausing saves a checkpoint; it goes on from there, or is kept as it is."""
        told = await json_of(request)
        name, job, shown = await in_thread(self._asked, told)
        entry = await self._page.queue.add("train", name, job, shown)
        return JSONResponse(entry.as_dict(), 201)

    def _asked(self, told: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
        if unknown := sorted(set(told) - {"photo", "name", "content", "options"}):
            raise StylebatchError(f"{unknown[0]}: unknown; there are content, name, options, photo")
        name, options = told.get("name"), told.get("options", {})
        _check_name(name)
        if not isinstance(options, dict) or _OWN & set(options):
            raise StylebatchError(f"options: must be an object without {', '.join(sorted(_OWN))}")
        painting = self._page.photos.find(str(told.get("photo", ""))).path
        content = told.get("content")
        photographs = under(self._page.root, str(content)) if content else None
        if photographs and not photographs.is_dir():
            raise StylebatchError(f"{content}: no such folder")
        for each in _NETWORKS & set(options):
            if not re.fullmatch(r"[\w-]*", str(options[each])):  # a name is none of a file
                options[each] = str(under(self._page.root, str(options[each])))
        folder = self._page.folder / "trainings" / os.urandom(8).hex()
        folder.mkdir(parents=True)
        copy = folder / f"{name}{painting.suffix.lower()}"
        shutil.copyfile(painting, copy)
        job = {"checkpoint_steps": 25, **options, "style": str(copy), "out": str(folder)}
        if photographs:
            job["content"] = str(photographs)
        return str(name), job, {"name": name, "photo": told["photo"], "content": content or ""}

    def _training(self, request: Request) -> tuple[Entry, Path]:
        entry = self._page.queue.find(request.path_params["id"])
        if entry.kind != "train":
            raise HTTPException(404, f"job {entry.id}: is no training")
        return entry, Path(entry.job["out"])

    async def picture(self, request: Request) -> Response:
        """The newest picture of a training: painting, photograph, photograph painted. 404 until there is one."""
        _, folder = self._training(request)
        found = [path for pattern in ("*_preview.jpg", "*_fuse_*.jpg") for path in folder.glob(pattern)]
        if not found:
            raise HTTPException(404, "no picture yet: the first comes after half a minute")
        return FileResponse(max(found, key=lambda path: path.stat().st_mtime_ns))

    async def keep(self, request: Request) -> Response:
        """Keep what a training has learned so far as a style, found by its name from any folder. Body: JSON, with another
        `name` if it is to have one."""
        entry, folder = self._training(request)
        told = await json_of(request)
        name = told.get("name") or entry.shown["name"]
        _check_name(name)
        if entry.state == "running":
            raise HTTPException(409, "it is still learning: pause it first")

        def kept() -> Path:
            found = [*folder.glob("*.safetensors")] or [*folder.glob("*_trans_net_*.pth")]
            if not found:
                raise HTTPException(409, "it has not learned anything yet")
            checkpoint = load_checkpoint(max(found, key=lambda path: path.stat().st_mtime_ns))
            named = folder / "kept" / f"{name}.safetensors"
            save_safetensors(Checkpoint(checkpoint.model, {**checkpoint.metadata, "style": name}), named)
            try:
                return add_style(named)
            finally:
                shutil.rmtree(named.parent, ignore_errors=True)

        await in_thread(kept)
        await self._page.queue.tell(entry, {"kept": name})
        return JSONResponse({"name": name})


def _check_name(name: object) -> None:
    if not is_plain_name(name) or not isinstance(name, str) or not re.fullmatch(r"[\w][\w .+-]{0,59}", name):
        raise StylebatchError(f"name {name!r:.80}: must be letters, digits, spaces, and . _ + -")
    if Path(name).suffix.lower() in (*SUFFIXES, *PICTURE_SUFFIXES):
        raise StylebatchError(f"name {name}: must not end like a file")
    if name in named_styles():
        raise StylebatchError(f"name {name}: there is a style of that name; choose another")
