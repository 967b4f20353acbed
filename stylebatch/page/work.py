"""Endpoints of jobs: folders and films under the root, or files that were dropped."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from stylebatch.errors import StylebatchError
from stylebatch.images.options import ImageOptions
from stylebatch.jobs.job import FolderJob, Job, VideoJob
from stylebatch.options import Options, options_of
from stylebatch.page.archive import zipped
from stylebatch.page.browse import shown, under
from stylebatch.page.forms import check_names, described, read
from stylebatch.page.photos import plain_name
from stylebatch.page.previews import jpeg
from stylebatch.page.queue import Entry
from stylebatch.page.replies import body_into, json_of
from stylebatch.page.results import Result, picture, results_of
from stylebatch.page.shared import Page, in_thread, number_in, query_of
from stylebatch.video.encoding import CONTAINERS
from stylebatch.video.options import VideoOptions

#: Of a file that is dropped for a job: films are large.
MAX_BYTES = 8_000_000_000
_KINDS: dict[str, tuple[type[Job], type[ImageOptions] | type[VideoOptions]]] = {
    "folder": (FolderJob, ImageOptions),
    "video": (VideoJob, VideoOptions),
}
_OWN = ("source", "output", "options")


class WorkEndpoints:
    """Of one server."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def options(self, request: Request) -> Response:
        """The options of a `kind` of job, folder or video, as they are declared: name, type, default, help, range."""
        kind = request.path_params["kind"]
        if kind not in _KINDS:
            raise HTTPException(404, f"{kind}: there are {', '.join(_KINDS)}")
        job, options = _KINDS[kind]
        return JSONResponse({"options": [*described(options), *described(job, *_OWN, "follow_links")]})

    async def jobs(self, _request: Request) -> Response:
        """The jobs, oldest first: state, summary so far, what failed by name."""
        return JSONResponse({"jobs": [entry.as_dict() for entry in self._page.queue.list()]})

    async def add_job(self, request: Request) -> Response:
        """Queue a job. Body: JSON with `kind`, folder or video; `source` and `output`, paths under the root, or `upload`
        instead of `source`; and any option of the command. Without an output it is beside the source, named by the style."""
        told = await json_of(request)
        entry = await self._add(*await in_thread(self._asked, told))
        return JSONResponse(entry.as_dict(), 201)

    async def _add(self, job: Job, facts: dict[str, Any]) -> Entry:
        return await self._page.queue.add(str(job.as_dict()["kind"]), facts["title"], job.as_dict(), facts)

    def _asked(self, told: dict[str, Any]) -> tuple[Job, dict[str, Any]]:
        """A job with whole paths, and what people see of it."""
        kind = told.get("kind")
        if kind not in _KINDS:
            raise StylebatchError(f"kind: must be {' or '.join(_KINDS)}, not {kind!r}")
        job_kind, options_kind = _KINDS[kind]
        check_names(told, job_kind, options_kind, further=("kind", "upload"))
        for name in ("source", "output", "upload", "style"):
            if not isinstance(told.get(name, ""), str):
                raise StylebatchError(f"{name}: must be text")
        if told.get("follow_links") in (True, "true"):
            raise StylebatchError("follow links: the page does not leave its folder")
        source = self._source(kind, told)
        options = read(options_kind, told)
        style = self._page.style(told.get("style") or "hosi")
        output = under(self._page.root, told.get("output") or self._beside(kind, source, style, options))
        own = {name: told[name] for name in options_of(job_kind) if name in told and name not in _OWN}
        job = read(job_kind, {**own, "style": style}, source=str(source), output=str(output), options=options)
        facts = {
            "title": source.name or str(source),
            "source": self._called(source),
            "output": self._called(output),
            "style": told.get("style") or style,
        }
        return job, facts

    def _source(self, kind: str, told: dict[str, Any]) -> Path:
        if told.get("upload"):
            source = self._uploads(told["upload"])
            return source if kind == "folder" else min(source.iterdir())
        if not told.get("source"):
            raise StylebatchError("source: is missing, the folder or film to paint")
        source = under(self._page.root, told["source"])
        if not (source.is_dir() if kind == "folder" else source.is_file()):
            raise StylebatchError(f"{self._called(source)}: no such {'folder' if kind == 'folder' else 'film'}")
        return source

    def _beside(self, kind: str, source: Path, style: str, options: Options) -> str:
        """Where results go by default: beside the source, or in the root if that was dropped."""
        label = Path(style).stem if len(style) < 60 else "mix"
        label = "".join(each if each.isalnum() or each in "._+-" else "_" for each in label)
        beside = source if source.is_relative_to(self._page.root) else self._page.root / source.name
        if kind == "folder":
            return str(beside.with_name(f"{beside.name}_{label}"))
        ending = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
        preview = "_preview" if getattr(options, "preview", None) else ""
        frames = "_frames" if getattr(options, "every", None) else ""
        return str(beside.with_name(f"{beside.stem}_{label}{preview}{frames or ending}"))

    def _called(self, path: Path) -> str:
        return shown(self._page.root, path) if path.is_relative_to(self._page.root) else path.name

    # --- files that are dropped ---

    async def add_upload(self, request: Request) -> Response:
        """Keep a file for a job. Body: the file, with its `name` in the address, and the `upload` that it belongs to, if
        it is not the first. Gives the `upload`."""
        query = query_of(request)
        check_names(query, further=("name", "upload"))
        folder = self._uploads(query["upload"]) if "upload" in query else self._page.new_upload()
        name = plain_name(query.get("name", ""))
        target = folder / name
        while target.exists():
            name = f"_{name}"
            target = folder / name
        try:
            await body_into(request, target, MAX_BYTES)
        except BaseException:
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
        return JSONResponse({"upload": folder.name, "name": name}, 201)

    def _uploads(self, name: str) -> Path:
        folder = self._page.folder / "uploads" / name
        if not name.startswith("dropped-") or plain_name(name) != name or not folder.is_dir() or not any(folder.iterdir()):
            raise HTTPException(404, f"upload {name}: there is none")
        return folder

    # --- a job ---

    def _entry(self, request: Request) -> Entry:
        return self._page.queue.find(request.path_params["id"])

    async def job(self, request: Request) -> Response:
        """One job; of a training, with its losses step by step."""
        entry = self._entry(request)
        return JSONResponse({**entry.as_dict(), "history": entry.history})

    async def change_job(self, request: Request) -> Response:
        """`pause` a job after what is in flight, `resume` it where it was, or `cancel` it; what is done stays."""
        change = request.path_params["change"]
        act = {"pause": self._page.queue.pause, "resume": self._page.queue.resume, "cancel": self._page.queue.cancel}.get(
            change
        )
        if act is None:
            raise HTTPException(404, f"{change}: a job can be paused (pause), go on (resume), or end (cancel)")
        return JSONResponse((await act(request.path_params["id"])).as_dict())

    async def forget_job(self, request: Request) -> Response:
        """Take a job that is not running out of the list. Its results stay; files that were dropped for it go."""
        entry = self._entry(request)
        await self._page.queue.forget(entry.id)
        if entry.kind == "train":
            await in_thread(shutil.rmtree, entry.job["out"], True)
        source = Path(entry.job.get("source", ""))
        uploads = self._page.folder / "uploads"
        used = any(
            str(uploads) in str(each.job.get("source", "")) and each.shown == entry.shown for each in self._page.queue.list()
        )
        if source.is_relative_to(uploads) and not used:
            folder = uploads / source.relative_to(uploads).parts[0]
            await in_thread(shutil.rmtree, folder, True)
        return JSONResponse({"forgotten": entry.id})

    async def events(self, _request: Request) -> Response:
        """Server-sent events: first all jobs, then those that change, and the ids of all, in order."""

        async def lines() -> AsyncIterator[str]:
            async for told in self._page.queue.events():
                yield f"data: {json.dumps(told)}\n\n" if told else ": still here\n\n"

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)

    # --- results ---

    async def results(self, request: Request) -> Response:
        """What a job has finished, newest first: `total`, and from `offset` on `limit` names, each with its original's."""
        query = query_of(request)
        offset, limit = number_in(query, "offset", 0, 10**8) or 0, number_in(query, "limit", 1, 500) or 60
        found: list[Result] = await in_thread(results_of, self._entry(request))
        listed = [each.as_dict() for each in found[offset : offset + limit]]
        return JSONResponse({"total": len(found), "results": listed})

    async def result(self, request: Request) -> Response:
        """One result by `name`, or with `original=true` what it was made of; with `size` as a JPEG of that long side."""
        query = query_of(request)
        found: list[Result] = await in_thread(results_of, self._entry(request))
        name = query.get("name", "")
        each = next((each for each in found if each.name == name), None)
        path = each and (each.original if query.get("original") == "true" else each.path)
        if not path or not path.is_file():
            raise HTTPException(404, f"{name}: no such result")
        if size := number_in(query, "size", 16, 3200):
            pixels = await self._page.drafts.do(request, lambda _given_up: jpeg(picture(path, size)))
            return Response(pixels, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        # What a browser would run stays a download.
        safe = kind.startswith(("image/", "video/")) and kind != "image/svg+xml"
        disposition = "inline" if safe and query.get("download") != "true" else "attachment"
        headers = {"Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(path.name)}"}
        return FileResponse(path, media_type=kind if safe else "application/octet-stream", headers=headers)

    async def archive(self, request: Request) -> Response:
        """All results as a ZIP, made while it is sent."""
        entry = self._entry(request)
        found: list[Result] = await in_thread(results_of, entry)
        if not found:
            raise HTTPException(404, f"job {entry.id}: has no results yet")
        name = f"{Path(entry.shown['output']).stem or 'results'}.zip"
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return StreamingResponse(
            zipped([(each.name, each.path) for each in reversed(found)]), media_type="application/zip", headers=headers
        )


async def run_queue(page: Page) -> None:
    """The queue, for as long as the server runs."""
    try:
        await page.queue.run()
    except asyncio.CancelledError:
        await page.queue.close()
        raise
