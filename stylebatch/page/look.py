"""Endpoints to look at styles: photographs, previews, one picture in full size."""

from __future__ import annotations

import mimetypes
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from stylebatch.errors import StylebatchError
from stylebatch.images.options import ImageOptions
from stylebatch.jobs.job import StylizerOptions
from stylebatch.page.browse import under
from stylebatch.page.forms import check_names, read
from stylebatch.page.photos import MAX_BYTES, REDUCED, SAMPLES, Photo
from stylebatch.page.previews import LARGEST, Look, is_draft, jpeg
from stylebatch.page.replies import body_into
from stylebatch.page.shared import Page, in_thread, number_in, query_of
from stylebatch.styles import added_folder, named_styles

_PREVIEW = ("style", "strength", "strokes", "photo", "preserve_color", "size", "client", "view")
_IMAGE = ("name", "photo")


class LookEndpoints:
    """Of one server."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def styles(self, _request: Request) -> Response:
        """The styles: names, artworks, artists, years, rights. Those of one `family` can be mixed."""

        def listed() -> list[dict[str, object]]:
            return [
                {
                    "name": style.name,
                    "artwork": style.artwork,
                    "artist": style.artist,
                    "year": style.year,
                    "rights": style.rights,
                    "family": style.header.get("base") and f"{style.header['base'][:12]}-{style.header.get('width', '')}",
                    "added": style.path.parent == added_folder(),
                }
                for style in named_styles().values()
            ]

        return JSONResponse({"styles": await in_thread(listed)})

    async def samples(self, _request: Request) -> Response:
        """The names of the photographs that come with the package."""
        return JSONResponse({"samples": [path.stem for path in sorted(SAMPLES.glob("*.jpg"))]})

    async def sample(self, request: Request) -> Response:
        """One of them, as a JPEG."""
        return FileResponse(_sample(request.path_params["name"]), headers={"Cache-Control": "private, max-age=3600"})

    async def add_photo(self, request: Request) -> Response:
        """Keep a photograph for previews. Body: the file, with its `name` in the address; or without a body: `sample`, the
        name of one that comes with the package, or `path`, one under the root."""
        query = query_of(request)
        check_names(query, further=("name", "sample", "path"))
        photos = self._page.photos
        if source := self._existing(query):
            arrived = photos.arriving(source.name)
            await in_thread(shutil.copyfile, source, arrived)
        else:
            arrived = photos.arriving(query.get("name", ""))
            await body_into(request, arrived, MAX_BYTES)
        photo = await in_thread(photos.add, arrived)
        try:  # once, for all previews
            await self._page.drafts.do(request, lambda _: photos.pixels(photo, REDUCED))
        except StylebatchError as error:
            raise HTTPException(415, str(error)) from None
        return JSONResponse(photo.as_dict(), 201)

    def _existing(self, query: Mapping[str, str]) -> Path | None:
        if sample := query.get("sample"):
            return _sample(sample)
        if path := query.get("path"):
            source = under(self._page.root, path)
            if not source.is_file():
                raise HTTPException(404, f"{path}: no such file")
            if source.stat().st_size > MAX_BYTES:
                raise HTTPException(413, f"{path}: over the limit of {MAX_BYTES // 1_000_000} MB")
            return source
        return None

    async def photo(self, request: Request) -> Response:
        """A photograph that is kept, as a JPEG; `size` is its long side at most."""
        photo = await in_thread(self._page.photos.find, request.path_params["id"])
        size = number_in(query_of(request), "size", 1, LARGEST) or LARGEST

        picture = await self._page.looks.do(request, lambda _: jpeg(self._page.photos.pixels(photo, size)))
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    async def preview(self, request: Request) -> Response:
        """A photograph that is kept in a style, reduced, as a JPEG. `size` is its long side, `draft` (the default) what is
        painted at once; `X-Painted` tells its width and height. A newer request of the same `client` and `view` takes its
        place, which is answered 409."""
        query = query_of(request)
        check_names(query, further=_PREVIEW)
        photo, look = await in_thread(self._asked, query)
        size = None if query.get("size", "draft") == "draft" else number_in(query, "size", 1, LARGEST)
        lane = self._page.drafts if is_draft(size) else self._page.looks
        key = f"{query['client']} {query.get('view', '')}" if "client" in query else ""
        picture, (width, height) = await lane.do(request, lambda check: self._page.previews(photo, look, size, check), key)
        return Response(picture, media_type="image/jpeg", headers={"X-Painted": f"{width}x{height}"})

    def _asked(self, query: Mapping[str, str]) -> tuple[Photo, Look]:
        paint = read(StylizerOptions, query)
        options = read(ImageOptions, {"preserve_color": query.get("preserve_color")})
        look = Look(self._page.style(paint.style), paint.strength, paint.strokes, options.preserve_color)
        return self._page.photos.find(query.get("photo", "")), look

    async def image(self, request: Request) -> Response:
        """A picture in, the same picture in a style out, in full size, by the engine of `stylebatch image` and with its
        options. Body: the file, with its `name` in the address; or without a body `photo`, one that is kept."""
        query = query_of(request)
        check_names(query, StylizerOptions, ImageOptions, further=_IMAGE)
        paint, options = read(StylizerOptions, query), read(ImageOptions, query)
        style = await in_thread(self._page.style, paint.style)
        folder = Path(tempfile.mkdtemp(dir=self._page.scratch))
        try:
            if "photo" in query:
                source = (await in_thread(self._page.photos.find, query["photo"])).path
            else:
                arrived = self._page.photos.arriving(query.get("name", ""))
                await body_into(request, arrived, MAX_BYTES)
                photo = await in_thread(self._page.photos.add, arrived)
                source = photo.path

            result = await self._page.painter.do(request, source, folder, replace(paint, style=style), options)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        label = re.sub(r"[^\w+.-]+", "_", paint.style)[:60]
        name = f"{result.stem}_{label}{result.suffix}"
        return FileResponse(
            result,
            media_type=mimetypes.guess_type(result.name)[0] or "application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"},
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )


def _sample(name: str) -> Path:
    samples = {path.stem: path for path in SAMPLES.glob("*.jpg")}
    if name not in samples:
        raise HTTPException(404, f"{name}: no such sample; there are {', '.join(sorted(samples))}")
    return samples[name]
