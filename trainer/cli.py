"""The `trainer` command. Its options are the fields of `FitConfig`."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stylebatch import __version__
from stylebatch.console.arguments import CONTEXT, PATH, Commands
from stylebatch.console.command import command, progress_bar
from stylebatch.console.options import declared_options
from stylebatch.console.terminal import printable, say, tell
from stylebatch.errors import StylebatchError
from trainer.config import RECIPES, FitConfig

if TYPE_CHECKING:
    from trainer.fit import Progress


def _command_for(path: Path) -> str | None:
    """A picture without a command is to be learned."""
    return "fit" if path.is_file() else None


@click.group(cls=Commands, context_settings=CONTEXT, command_for=_command_for)
@click.version_option(__version__)
def main() -> None:
    """Teach a network the style of one picture."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and os.environ.get("RANK", "0") != "0":
        # Of the processes that torchrun starts, the first alone speaks.
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (until the end)


@main.command()
@click.argument("picture", required=False, type=PATH)
@declared_options(FitConfig)
@click.option("--recipe", type=click.Choice(sorted(RECIPES)), help="A named set of defaults: the reference article's.")
@click.option(
    "--keep", is_flag=True, help="Keep the style by the picture's content, instead of in --out: nothing is trained twice."
)
@command
def fit(picture: Path | None, recipe: str | None, keep: bool, **options: Any) -> None:
    """Learn the style of PICTURE. Writes the style, checkpoints, side-by-side pictures and loss curves."""
    if picture and options["style"]:
        raise click.UsageError(f"Two pictures, {picture} and {options['style']}; a training learns one.")
    options["style"] = picture or options["style"]
    if not options["style"]:
        raise click.UsageError("Missing option '-s' / '--style', the picture to learn: trainer fit --style painting.jpg")
    if keep and (options["out"] or options["resume"] or options["overwrite"]):
        raise click.UsageError("--keep excludes --out, --resume and --overwrite.")
    if keep and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise click.UsageError("--keep is for a training by one process; give --out to those that torchrun starts.")
    chosen = {key: value for key, value in options.items() if value is not None}
    recipe_choices = dict(RECIPES[recipe]) if recipe else {}
    if "steps" in chosen:
        recipe_choices.pop("epochs", None)
    if "checkpoint_steps" in chosen:
        recipe_choices.pop("checkpoint_epochs", None)
    config = FitConfig(**{**recipe_choices, **chosen})
    _check_files(config)
    if keep:
        say(str(_keep(config)))
    else:
        style = _train(config)
        say(str(style))
        tell(f"use it: stylebatch folder IN OUT --style {shlex.quote(_called(style))}")


def _called(style: Path) -> str:
    """What stands for a style's file on a command line here: its name where that leads to it, else its path."""
    from stylebatch.styles import TRAINED

    with suppress(OSError):
        if (TRAINED / style.name).samefile(style):
            return style.stem
    return str(style)


def _check_files(config: FitConfig) -> None:
    """What is missing is said before PyTorch is loaded."""
    from stylebatch.styles import find_style

    if config.style.is_dir():
        raise StylebatchError(f"{config.style}: is a folder; give one picture to learn")
    if not config.style.exists():
        raise StylebatchError(f"{config.style}: no such style picture")
    if config.content and not config.content.is_dir():
        raise StylebatchError(f"{config.content}: no such folder of content photographs")
    if config.init not in ("none", "base", "nearest"):
        find_style(config.init)


def _keep(config: FitConfig) -> Path:
    """The style that is kept for a training, which is done first if there is none."""
    from stylebatch.interrupt import catch_interrupts
    from trainer.keep import Kept

    kept = Kept(config)
    if style := kept.find():
        return style
    name = config.style.name

    def waiting() -> None:
        tell(f"waiting for another run that is training the style of {name}")

    with catch_interrupts() as interrupt, kept.alone(waiting, interrupt):
        if style := kept.find():
            return style
        tell(f"training the style of {name}, which takes some minutes, once: it is kept")
        return kept.keep(_train(kept.resumed(), again="the same command"))


def _train(config: FitConfig, again: str = "the same command with --resume") -> Path:
    """Train, showing how far it is. Ends the program if it is interrupted, and says that `again` goes on."""
    from stylebatch.interrupt import catch_interrupts
    from trainer.fit import fit
    from trainer.terms import SHOWN

    # What matplotlib has to say of fonts and its cache is nothing that a training can be changed by.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with catch_interrupts() as interrupt, progress_bar("step") as bar:
        bar.bar_format = "{desc}"  # until the first step, what is done

        def show(progress: Progress) -> None:
            if progress.stage:
                if sys.stderr.isatty():
                    bar.set_description_str(progress.stage)
                else:
                    note(progress.stage)
                return
            if bar.bar_format:
                bar.bar_format = None
                bar.set_description_str("", refresh=False)
                bar.initial = bar.n = bar.last_print_n = progress.step - 1
                bar.start_t = bar.last_print_t = time.time()  # `reset` would show a bar of nothing
            bar.total = progress.steps
            bar.set_postfix_str(", ".join(f"{name} {progress.losses[name]:.3g}" for name in SHOWN), refresh=False)
            bar.update(progress.step - bar.n)

        def note(line: str) -> None:
            bar.write(printable(line), file=sys.stderr)

        result = fit(config, progress=show, message=note, stop=interrupt)
        if bar.bar_format:
            bar.set_description_str("")
    if result.interrupted:
        if result.checkpoint:
            say(str(result.checkpoint))
            said = f"stopped at step {result.step} of {result.steps}; {again} goes on"
        else:
            said = "stopped before the first step: nothing has been written"
        tell(said)
        sys.exit(interrupt.exit_code)
    assert result.style is not None  # as of every training that has ended
    return result.style


@main.command()
@click.option("--style", "-s", required=True, metavar="NAME|PATH|MIX", help="The style to judge.")
@click.option("--picture", "-p", required=True, type=PATH, help="The painting that it learned.")
@click.option("--photos", required=True, type=PATH, help="Folder of photographs.")
@click.option("--out", "-o", default="evaluation", show_default=True, type=PATH, help="Where it goes.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier report.")
@click.option("--size", default=256, show_default=True, help="Long side of the photographs.")
@click.option("--iterations", default=100, show_default=True, help="Of L-BFGS, for the picture to compare with.")
@command
def evaluate(style: str, picture: Path, photos: Path, **options: Any) -> None:
    """Score a style between the photograph (0) and Gatys' optimisation (1): Markdown, JSON, a sheet of pictures."""
    from trainer.evaluate import evaluate

    with progress_bar("img") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        def note(line: str) -> None:
            bar.write(printable(line), file=sys.stderr)

        report = evaluate(style, picture, photos, progress=show, message=note, **options)
    say(str(report))
