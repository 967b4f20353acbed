"""What a file in a store holds, by what the store says of it: nothing is fetched to find out."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

#: What a store knows of a file's content, first choice first, and of when it came.
_DIGESTS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")


class RemoteContent:
    """What a file in a store holds, by what the store says of it."""

    def __init__(self, url: str, digest: str | None, ask: Callable[[], str | None]) -> None:
        self._url = url
        self._ask = ask
        self.digest = digest

    @property
    def name(self) -> str:
        return posixpath.basename(self._url)

    @property
    def confirmed(self) -> str | None:
        return self.digest if self._ask() == self.digest else None

    def path_from(self, _folder: Path | None) -> str:
        return self._url


def digest_of(entry: dict[str, Any] | None) -> str | None:
    if entry is None:
        return None
    told = next((str(entry[key]).strip('"') for key in _DIGESTS if entry.get(key)), None)
    when = next((entry[key] for key in _TIMES if entry.get(key)), None)
    when = when.timestamp() if isinstance(when, datetime) else when  # a listing may tell it in another way
    return told or (None if when is None else f"{entry['size']} bytes of {when}")
