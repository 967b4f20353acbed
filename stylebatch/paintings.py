"""Paintings given as styles: a style is trained from each first, and kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stylebatch.console.terminal import stderr_descriptor
from stylebatch.errors import TrainingError
from stylebatch.interrupt import catch_interrupts
from stylebatch.styles import check_style, is_painting
from stylebatch.system import pass_on

#: The folder of both packages. The training runs there, so that no folder of the user's is taken for either of them.
_HOME = Path(__file__).parent.parent


def with_styles_of_paintings(style: str, device: str = "auto") -> str:
    """A style or mix, each painting in it replaced by the style that was trained from it, now or in an earlier run.

    The training is a process of its own, `trainer fit --keep`: this package does not import that one, and the training's
    memory is free again before the first photograph. It shows its progress on stderr.

    Args:
        style: as in `load_style`, or with paintings, as files, instead of names.
        device: for the training; of several the first.

    Raises:
        StylebatchError: as `check_style`.
        TrainingError: interrupted, or not a picture that a style can be learned from.
    """
    shares = check_style(style)
    parts = {name: str(_trained(name, device)) if is_painting(name) else name for name in shares}
    if len(parts) == 1:
        return next(iter(parts.values()))
    return ",".join(f"{parts[name]}:{share!r}" for name, share in shares.items())


def _trained(painting: str, device: str) -> Path:
    first = "cuda" if device == "all" else device.partition(",")[0].strip()
    program = [sys.executable, "-X", "utf8", "-m", "trainer"]
    command = [*program, "fit", "--keep", "--style", str(Path(painting).absolute()), "--device", first]
    # In a session of its own, the process gets Ctrl-C once, from here.
    with catch_interrupts() as interrupt:
        process = subprocess.Popen(
            command, cwd=_HOME, stdout=subprocess.PIPE, stderr=stderr_descriptor(), encoding="utf-8", start_new_session=True
        )
        forwarded = False
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    if interrupt() and not forwarded:
                        pass_on(process, interrupt.signal)
                        forwarded = True
        except KeyboardInterrupt:
            process.kill()
            process.wait()
            raise
    if process.returncode or interrupt():
        raise TrainingError(painting, interrupt.exit_code if interrupt() else process.returncode)
    return Path(output.splitlines()[-1])
