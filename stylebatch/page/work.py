"""Endpoints of jobs: folders and films under the root, or files that were dropped."""

from __future__ import annotations

import json
import mimetypes
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from stylebatch.cli.inputs import films_of
from stylebatch.errors import StylebatchError
from stylebatch.images.decoding import open_image
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
from stylebatch.storage import is_url
from stylebatch.video.numbered import Numbered, pattern_of, sequence_of
from stylebatch.video.opening import open_film
from stylebatch.video.options import VideoOptions
from stylebatch.video.outputs import output_of, output_paths

#: Of a file that is dropped for a job: films are large.
MAX_BYTES = 8_000_000_000
#: Of a folder, each of which is a job.
_MOST_FILMS = 100
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
        instead of `source`; and any option of the command. Without an output it is beside the source, named by the style.
        A film may be numbered pictures, `shot/%05d.png`; of a folder of films each is a job, and the answer is `jobs`."""
        told = await json_of(request)
        asked = await in_thread(self._asked, told)
        add = self._page.queue.add
        queued = [(await add(told["kind"], facts["title"], job.as_dict(), facts)).as_dict() for job, facts in asked]
        return JSONResponse(queued[0] if len(queued) == 1 else {"jobs": queued}, 201)

    def _asked(self, told: dict[str, Any]) -> list[tuple[Job, dict[str, Any]]]:
        """Jobs with whole paths, and what people see of them."""
        kind = told.get("kind")
        if kind not in tuple(_KINDS):
            raise StylebatchError(f"kind: must be {' or '.join(_KINDS)}, not {kind!r}")
        job_kind, options_kind = _KINDS[kind]
        check_names(told, job_kind, options_kind, further=("kind", "upload"))
        for name in ("source", "output", "upload", "style"):
            if not isinstance(told.get(name, ""), str):
                raise StylebatchError(f"{name}: must be text")
            if is_url(told.get(name, "")):
                raise StylebatchError(f"{told[name]}: the page stays in its folder; stylebatch folder takes URLs")
        if told.get("follow_links") in (True, "true"):
            raise StylebatchError("follow links: the page does not leave its folder")
        source = self._source(kind, told)
        options = read(options_kind, told)
        style = self._page.style(told.get("style") or "hosi")
        own = {name: told[name] for name in options_of(job_kind) if name in told and name not in _OWN}
        jobs = []
        for each, into in self._parts(source, told.get("output", ""), style, options):
            output = under(self._page.root, into)
            ending = os.sep if into.endswith(("/", os.sep)) else ""
            job = read(job_kind, {**own, "style": style}, source=str(each), output=f"{output}{ending}", options=options)
            facts = {
                "title": each.name or str(each),
                "source": self._called(each),
                "output": self._called(output),
                "style": told.get("style") or style,
            }
            jobs.append((job, facts))
        return jobs

    def _source(self, kind: str, told: dict[str, Any]) -> Path:
        if told.get("upload"):
            source = self._uploads(told["upload"])
            files = list(source.iterdir())
            return files[0] if kind == "video" and len(files) == 1 else source
        if not told.get("source"):
            raise StylebatchError("source: is missing, the folder or film to paint")
        source = under(self._page.root, told["source"])
        if not (source.is_dir() or (kind == "video" and (source.is_file() or pattern_of(source)))):
            raise StylebatchError(f"{self._called(source)}: no such {'folder' if kind == 'folder' else 'film'}")
        return source

    def _parts(self, source: Path, output: str, style: str, options: Options) -> list[tuple[Path, str]]:
        """What is a job each, with where its results go: by default beside it, or in the root if it was dropped."""
        label = Path(style).stem if len(style) < 60 else "mix"
        label = "".join(each if each.isalnum() or each in "._+-" else "_" for each in label)
        beside = source if source.is_relative_to(self._page.root) else self._page.root / source.name
        if not isinstance(options, VideoOptions):
            return [(source, output or str(beside.with_name(f"{beside.name}_{label}")))]
        if source.is_dir():
            into = under(self._page.root, output or str(beside.with_name(f"{beside.name}_{label}")))
            found = films_of([source], str(into))
            films = [(film, str(folder)) for film, folder in found if isinstance(film, Path) and film != source]
            real = {film: Path(os.path.realpath(film)) for film, _ in films}
            seen = (self._page.root, source)
            films = [(film, folder) for film, folder in films if any(map(real[film].is_relative_to, seen))]
            if len(films) > _MOST_FILMS:
                raise StylebatchError(f"{self._called(source)}: over {_MOST_FILMS} films; take its folders, one by one")
            if films:
                output_paths(films, label, options)
                return films
            sequence = sequence_of(source)
            if sequence is None:
                raise StylebatchError(f"{self._called(source)}: no films in it, and no numbered pictures")
            source, output = sequence.path, output or str(into)
        if sequence := pattern_of(source):
            for number in sequence.numbers():
                under(self._page.root, str(sequence.picture(number)))
        if not output:
            made = output_of(beside if source.is_file() else source, None, label, options)
            output = str(made.folder if isinstance(made, Numbered) else made)
        return [(source, output)]

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
            await in_thread(_check_medium, target)
        except BaseException:
            target.unlink(missing_ok=True)
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
        if size := number_in(query, "size", 1, 3200):
            pixels = await self._page.looks.do(request, lambda _: jpeg(picture(path, size)))
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


def _check_medium(path: Path) -> None:
    """By its content, whatever its name says."""
    told = "neither a photograph nor a film that can be read"
    try:
        open_image(path).close()
        return
    except StylebatchError as error:
        told = str(error)
    except Exception:  # Pillow's plugins fail in every way on what is no picture
        with suppress(StylebatchError), open_film(path, decode=False) as film:
            if film.streams.video:
                return
    raise HTTPException(415, f"{path.name}: {told}")
