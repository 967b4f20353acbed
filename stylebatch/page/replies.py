"""What is common to the answers: errors as one line of JSON, bodies of bounded length."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from stylebatch.errors import OutputError, StylebatchError

Endpoint = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("stylebatch")
#: Longer JSON is no request of a person's.
_MOST_JSON = 1_000_000


def answering(endpoint: Endpoint) -> Endpoint:
    """Errors as JSON, `{"error": "…"}`: 400 what was asked for is wrong, 507 an output that cannot be written, 500 a
    fault of the program, which the log alone names."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as error:
            return failure(error.detail, error.status_code)
        except StylebatchError as error:
            return failure(str(error), 507 if isinstance(error, OutputError) and error.fatal else 400)
        except ClientDisconnect:
            return failure("the client has gone", 499)
        except MemoryError as error:
            return failure(str(error) or "not enough memory", 507)
        except Exception as error:
            log_fault(f"{request.method} {request.url.path}", error)
            return failure("a fault of the program; its terminal shows which", 500)

    answer.__doc__ = endpoint.__doc__
    answer.__name__ = endpoint.__name__
    return answer


def log_fault(where: str, error: Exception) -> None:
    """A line for whoever looks after the program, with the place in it where it failed."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    _log.error("%s: %r at %s:%d", where, error, place.filename, place.lineno or 0)


def failure(text: str, status: int) -> JSONResponse:
    """An error, without the backticks that names of options and commands have in it."""
    shown = text.replace("`", "").encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": shown}, status)


async def json_of(request: Request) -> dict[str, Any]:
    """The object in a request's body.

    Raises:
        HTTPException: 400 if it is none, 413 if it is too long, 415 if it is not declared as JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "the body must be application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_JSON:
            raise HTTPException(413, "the body is too long")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON") from None
    if not isinstance(told, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return told


async def body_into(request: Request, path: Path, most: int) -> None:
    """Write a request's body into a file, which goes again if that fails.

    Raises:
        HTTPException: 413 if it is longer than `most` bytes, 400 if it is empty, 507 if the disk is full.
    """
    told = f"over the limit of {most // 1_000_000} MB"
    try:
        if int(request.headers.get("content-length", "0")) > most:
            raise HTTPException(413, told)
        size = 0
        with path.open("xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise HTTPException(413, told)
                file.write(chunk)
        if not size:
            raise HTTPException(400, f"{path.name}: is empty")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise HTTPException(507, f"the upload cannot be kept: {error.strerror}") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
