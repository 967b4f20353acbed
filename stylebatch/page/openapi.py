"""The HTTP interface described: its routes, what their docstrings say, and the options as they are declared."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from starlette.routing import Route

from stylebatch import __version__
from stylebatch.images.options import ImageOptions
from stylebatch.jobs.job import StylizerOptions
from stylebatch.page.forms import described

_JPEG, _BYTES, _JSON = "image/jpeg", "application/octet-stream", "application/json"
#: What stands in the address: name → what it is, beside declared options.
_QUERY: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "POST /api/photos": (
        [],
        {"name": "The file's name.", "sample": "One that comes with the package.", "path": "One under the root."},
    ),
    "GET /api/photos/{id}": ([], {"size": "Long side at most."}),
    "GET /api/preview": (
        [
            *described(StylizerOptions, "device", "backend", "precision"),
            *(each for each in described(ImageOptions) if each["name"] == "preserve_color"),
        ],
        {
            "photo": "The id of a photograph that is kept.",
            "size": "Long side in pixels, or draft: what is painted at once.",
            "client": "Any word for who asks: newer requests take the place of older ones.",
            "view": "Any word for the place where the picture is shown, so that one client can have several.",
        },
    ),
    "POST /api/image": (
        [*described(StylizerOptions), *described(ImageOptions)],
        {"name": "The file's name.", "photo": "A kept photograph's id, without a body."},
    ),
    "POST /api/uploads": ([], {"name": "The file's name.", "upload": "The upload that it belongs to, if not the first."}),
    "GET /api/jobs/{id}/results": ([], {"offset": "From here on.", "limit": "So many, 60 by default."}),
    "GET /api/jobs/{id}/result": (
        [],
        {
            "name": "As `results` gives it.",
            "original": "true: what it was made of.",
            "size": "Long side at most, as a JPEG.",
            "download": "true: to be saved.",
        },
    ),
    "GET /api/browse": ([], {"path": "A folder, relative to the root."}),
}
_BODIES = {
    "POST /api/jobs": _JSON,
    "POST /api/trainings": _JSON,
    "POST /api/trainings/{id}/keep": _JSON,
    "POST /api/uploads": _BYTES,
    "POST /api/photos": _BYTES,
    "POST /api/image": _BYTES,
}
_ANSWERS = {
    "GET /api/photos/{id}": _JPEG,
    "GET /api/samples/{name}": _JPEG,
    "GET /api/preview": _JPEG,
    "GET /api/events": "text/event-stream",
    "GET /api/trainings/{id}/picture": _JPEG,
    "GET /api/jobs/{id}/result": "*/*",
    "GET /api/jobs/{id}/zip": "application/zip",
    "POST /api/image": "image/*",
}


def description(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1, as JSON values."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            path = re.sub(r":\w+}", "}", route.path)
            paths.setdefault(path, {})[method.lower()] = _operation(f"{method} {path}", route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "stylebatch", "version": __version__},
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}},
        },
        "paths": paths,
    }


def _operation(name: str, route: Route) -> dict[str, Any]:
    declared, further = _QUERY.get(name, ([], {}))
    parameters = [
        {"name": each, "in": "path", "required": True, "schema": {"type": "string"}} for each in route.param_convertors
    ]
    parameters += [
        {"name": each["name"], "in": "query", "description": each["help"], "schema": schema_of(each)} for each in declared
    ]
    parameters += [
        {"name": each, "in": "query", "description": told, "schema": {"type": "string"}} for each, told in further.items()
    ]
    operation: dict[str, Any] = {
        "operationId": route.endpoint.__name__,
        "summary": " ".join((inspect.getdoc(route.endpoint) or "").split()),
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "Done.", "content": {_ANSWERS.get(name, _JSON): {}}},
            "4XX": {
                "description": "What was asked for is wrong.",
                "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if body := _BODIES.get(name):
        operation["requestBody"] = {
            "content": {body: {"schema": {"type": "string", "format": "binary"} if body == _BYTES else {}}}
        }
    return operation


def schema_of(option: dict[str, Any]) -> dict[str, Any]:
    """A described option's values, as JSON Schema."""
    schema: dict[str, Any] = {"type": option["type"]}
    limits = {"minimum": option["least"], "exclusiveMinimum": option["above"], "maximum": option["most"]}
    schema |= {name: value for name, value in limits.items() if value is not None}
    if option["choices"]:
        schema["enum"] = option["choices"]
    if option["default"] is not None:
        schema["default"] = option["default"]
    return schema
