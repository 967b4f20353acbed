"""What paints in full size for the page, driven by lines of JSON: a photograph, its result, until there is no more."""

from __future__ import annotations

import json
import os
import sys
import threading
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stylebatch.errors import OutputError, StylebatchError
from stylebatch.images.decoding import open_image
from stylebatch.images.options import ImageOptions
from stylebatch.jobs import stylize_image
from stylebatch.jobs.job import StylizerOptions
from stylebatch.styles import find_style, parse_mix
from stylebatch.stylizer import WHOLE_PIXELS, Stylizer
from stylebatch.system import keep_freed_memory


@lru_cache(2)
def _stylizer(options: StylizerOptions, _stamps: tuple[int, ...]) -> Stylizer:
    """One of a style whose files have these times: another training may take their names."""
    return Stylizer(**options.stylizer)


def _painted(source: Path, folder: str, paint: StylizerOptions, options: ImageOptions) -> dict[str, Any]:
    """The result, or the error with its status in HTTP, or a fault of the program."""
    try:
        with open_image(source) as image:
            keep_freed_memory(image.width * image.height <= WHOLE_PIXELS)
        stamps = tuple(find_style(each).stat().st_mtime_ns for each in parse_mix(paint.style))
        return {"result": str(stylize_image(source, f"{folder}/", _stylizer(paint, stamps), options=options))}
    except StylebatchError as error:
        full = isinstance(error, OutputError) and error.fatal
        return {"error": str(error).replace(str(source), source.name), "status": 507 if full else 400}
    except MemoryError as error:
        return {"error": str(error) or "not enough memory", "status": 507}
    except Exception as error:  # the next picture may do
        return {"fault": repr(error)}


def main() -> None:
    if hasattr(os, "nice"):
        os.nice(10)
    asked: SimpleQueue[str] = SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            asked.put(line)
        os._exit(0)  # whoever asked has gone, whatever is being painted

    threading.Thread(target=listen, daemon=True).start()
    while True:
        told = json.loads(asked.get())
        paint, options = StylizerOptions.from_dict(told["paint"]), ImageOptions.from_dict(told["options"])
        sys.stdout.write(json.dumps(_painted(Path(told["source"]), told["folder"], paint, options)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
