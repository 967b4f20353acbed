"""`stylebatch page`."""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

import click

from stylebatch.console.arguments import PATH
from stylebatch.console.command import command
from stylebatch.console.terminal import say, tell
from stylebatch.errors import StylebatchError

#: Where it listens unless another port is asked for.
_PORT = 8642


@click.command()
@click.option("--port", type=int, default=_PORT, show_default=True, metavar="N", help="Where it listens; 0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="0.0.0.0 lets other machines in, too, with the token.")  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Print the address, and open nothing.")
@click.option("--root", type=PATH, default=Path(), help="The page sees nothing but this folder.  [default: this folder]")
@command
def page(port: int, host: str, no_browser: bool, root: Path) -> None:
    """Look, choose and work in the browser: every style on your photograph, folders and films, trainings."""
    if missing := [name for name in ("starlette", "uvicorn") if not find_spec(name)]:
        raise StylebatchError(f"{' and '.join(missing)}: not installed; pip install 'stylebatch[page]'")
    # Between pictures PyTorch's threads would turn in circles for a while, which a job's process pays for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from stylebatch.page.server import serve
    from stylebatch.system import data_folder

    def ready(address: str) -> None:
        say(address)
        tell("Ctrl-C ends it; jobs that are not finished go on with the next start")
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    serve(root, data_folder() / "page" / place, host, port, ready)
