"""What commands have in common: errors as a line, exit codes, progress bars, an end when a signal asks for it."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from stylebatch.console.terminal import silence_libraries, tell
from stylebatch.errors import OutputError, StylebatchError, TrainingError
from stylebatch.interrupt import Interrupt, catch_interrupts
from stylebatch.system import keep_freed_memory

if TYPE_CHECKING:
    from tqdm import tqdm

#: Exit codes: 0 all done, and these; an interruption is 128 + its signal.
SOME_FAILED, BAD_USAGE = 1, 2

_Result = TypeVar("_Result")


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Errors as one line, exit 2 for bad input and 1 for an output that failed; `--debug` shows the traceback."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, debug: bool, **options: Any) -> None:
        notes = _Notes()
        logging.getLogger("stylebatch").addHandler(notes)
        if not debug:
            silence_libraries()
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
        keep_freed_memory()
        try:
            function(*args, **options)
        except TrainingError as error:
            sys.exit(error.exit_code)
        except (StylebatchError, MemoryError) as error:
            if debug:
                raise
            tell(f"Error: {str(error) or 'not enough memory'}")
            sys.exit(SOME_FAILED if isinstance(error, (OutputError, MemoryError)) else BAD_USAGE)
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            logging.getLogger("stylebatch").removeHandler(notes)

    return wrapper


class _Notes(logging.Handler):
    """What the library has to say beside its results, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(f"note: {record.getMessage()}")


def progress_bar(unit: str) -> tqdm[Any]:
    """On stderr, from the first progress on; in a log file it writes twice a minute."""
    from tqdm import tqdm

    return tqdm(unit=unit, dynamic_ncols=True, delay=1e-6, mininterval=0.1 if sys.stderr.isatty() else 30)


def advance(bar: tqdm[Any], done: int, total: int | None, before: int = 0) -> None:
    """`before` were done by an earlier run, and say nothing of this one's speed. Without a total, it is not known yet."""
    if done > before:
        bar.total = total
        if not bar.n:
            bar.initial = bar.n = bar.last_print_n = before
        bar.update(done - bar.n)


def until_stopped(job: Callable[[], _Result]) -> _Result:
    """Do what has nothing to keep of a part. A signal ends the program, whatever the job waits for."""
    with catch_interrupts() as interrupt:
        result = interrupt.wait_for(job)
    if result is None or interrupt():
        exit_by(interrupt)
    return result


def exit_by(interrupt: Interrupt) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would come into the interpreter's end, and change the code
    if interrupt.left_behind:  # the interpreter would wait for what cannot be ended, or end it in the middle of a call
        from stylebatch.workers import end_all

        end_all()
        os._exit(interrupt.exit_code)
    sys.exit(interrupt.exit_code)
