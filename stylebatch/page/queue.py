"""Jobs, one after another, each in a process of its own. What is queued and how far it is lies in a file a job, so that the
next server goes on with it; what is done lies in the output folder, where the command line goes on with it, too."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from stylebatch.errors import OutputError
from stylebatch.files import atomic_write
from stylebatch.page.lanes import Turns, Urgency, started
from stylebatch.page.replies import log_fault

#: What a job can be. `paused` and `failed` ones can go on, `waiting` and `running` ones be paused, all be cancelled.
WAITING, RUNNING, PAUSED, DONE, FAILED, CANCELLED = "waiting", "running", "paused", "done", "failed", "cancelled"
_OPEN = (WAITING, RUNNING)
#: Jobs that are kept in sight; the oldest finished ones go first.
_MOST = 200
#: Seconds that a job has to end what is in flight before its process is killed.
_GRACE = 30.0
#: The same when the server ends, and whoever ended it waits at the terminal.
_LAST_GRACE = 10.0
#: Seconds for which an output may be busy: the process of a server that was killed ends its last picture, maybe a large one.
_PATIENCE = 600.0
#: Seconds between looks at whether a job is held; what two in a row find is told.
_HELD = 1.0
#: What a job that is held waits for, in words.
_AHEAD = {Urgency.DRAFT: "a preview", Urgency.LOOK: "a preview", Urgency.SAVE: "a picture in full size"}

_log = logging.getLogger("stylebatch")


@dataclass
class Entry:
    """A job in the queue.

    Attributes:
        id: a number as text; later ones are larger.
        kind: "folder", "video" or "train".
        title: what people read.
        job: what its process is given, as JSON values.
        shown: paths as people see them, and whatever the page wants back.
        told: what the process has said last: the summary so far.
        error: why it failed.
        waits_for: what is more urgent, for which its process is held; empty while it goes on.
        history: of a training, rows of step and losses.
        changed: a count that grows with each change of any entry.
    """

    id: str
    kind: str
    title: str
    job: dict[str, Any]
    shown: dict[str, Any] = field(default_factory=dict)
    state: str = WAITING
    told: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    waits_for: str = ""
    created: float = field(default_factory=time.time)
    history: list[list[float]] = field(default_factory=list)
    changed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """What the interface gives."""
        return {name: value for name, value in asdict(self).items() if name not in ("changed", "history")}


class Queue:
    """The jobs of one server.

    Args:
        folder: where their files lie; made if it is missing.
        turns: whose last ones are theirs.
    """

    def __init__(self, folder: Path, turns: Turns) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._turns = turns
        self._entries: dict[str, Entry] = {}
        self._change = asyncio.Condition()
        self._count = 0
        self._process: asyncio.subprocess.Process | None = None
        self._let_go: Callable[[], None] = lambda: None
        self._running: Entry | None = None
        self._closing = False
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stem.zfill(12)):
            if entry := _read(path):
                # What was running when a server ended goes on.
                entry.state = WAITING if entry.state == RUNNING else entry.state
                entry.waits_for = ""
                self._entries[entry.id] = entry

    def list(self) -> Sequence[Entry]:
        """All, oldest first."""
        return list(self._entries.values())

    def find(self, id: str) -> Entry:
        """Raises HTTPException, 404, if there is none."""
        if id not in self._entries:
            raise HTTPException(404, f"job {id}: there is none")
        return self._entries[id]

    async def add(self, kind: str, title: str, job: dict[str, Any], shown: dict[str, Any]) -> Entry:
        """Queue a job behind the others."""
        finished = [each for each in self._entries.values() if each.state not in (*_OPEN, PAUSED)]
        for each in finished[: max(0, len(self._entries) - _MOST + 1)]:
            await self.forget(each.id)
        if len(self._entries) >= _MOST:
            raise HTTPException(429, f"{_MOST} jobs are waiting already; end some of them")
        number = max((int(id) for id in self._entries), default=0) + 1
        entry = Entry(str(number), kind, title, job, shown)
        self._entries[entry.id] = entry
        await self._changed(entry)
        return entry

    async def pause(self, id: str) -> Entry:
        """Stop it after what is in flight; `resume` goes on."""
        return await self._end(id, PAUSED, _OPEN)

    async def cancel(self, id: str) -> Entry:
        """Stop it for good. What is done stays where it is."""
        return await self._end(id, CANCELLED, (*_OPEN, PAUSED))

    async def resume(self, id: str) -> Entry:
        """Queue it again, where it was."""
        entry = self.find(id)
        if entry.state in _OPEN or entry.state == DONE:
            raise HTTPException(409, f"job {id}: is {entry.state}")
        if entry is self._running:
            raise HTTPException(409, f"job {id}: is still stopping")
        entry.state, entry.error = WAITING, ""
        await self._changed(entry)
        return entry

    async def forget(self, id: str) -> None:
        """Take a job that is not running out of sight. Its results stay."""
        entry = self.find(id)
        if entry.state == RUNNING or entry is self._running:
            raise HTTPException(409, f"job {id}: is running; cancel it first")
        del self._entries[id]
        (self._folder / f"{id}.json").unlink(missing_ok=True)
        await self._changed(None)

    async def tell(self, entry: Entry, further: dict[str, Any]) -> None:
        """Note something about it that people see."""
        entry.shown |= further
        await self._changed(entry)

    async def run(self) -> None:
        """Do them, until `close`."""
        while not self._closing:
            async with self._change:
                await self._change.wait_for(lambda: self._closing or self._next())
            if not self._closing and (entry := self._next()):
                try:
                    await self._do(entry)
                except Exception as error:  # the queue goes on with the others
                    log_fault(f"job {entry.id}", error)
                    entry.state, entry.error = FAILED, "a fault of the program; its terminal shows which"
                    await self._changed(entry)

    async def close(self) -> None:
        """Stop what runs, so that the next server goes on with it, and begin nothing more."""
        self._closing = True
        await self._changed(None)
        await self._stop(_LAST_GRACE)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """All entries, and from then on those that change, as `{"jobs": [...], "ids": [...]}`; empty, from time to time."""
        seen = -1
        while True:
            changed = [entry.as_dict() for entry in self._entries.values() if entry.changed > seen]
            count = self._count
            if seen < count:
                yield {"jobs": changed, "ids": list(self._entries)}
            seen = count
            try:
                async with asyncio.timeout(15), self._change:
                    await self._change.wait_for(lambda: self._count > seen)  # noqa: B023 (called here alone)
            except TimeoutError:
                yield {}

    def _next(self) -> Entry | None:
        return next((entry for entry in self._entries.values() if entry.state == WAITING), None)

    async def _end(self, id: str, state: str, states: tuple[str, ...]) -> Entry:
        entry = self.find(id)
        if entry.state not in states:
            raise HTTPException(409, f"job {id}: is {entry.state}")
        entry.state, entry.waits_for = state, ""
        await self._changed(entry)
        if entry is self._running:
            await self._stop()
        return entry

    async def _stop(self, grace: float = _GRACE) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._let_go()  # it ends what is in flight, beside whatever is more urgent
        with suppress(OSError):
            assert process.stdin
            process.stdin.write(b"stop\n")
            await process.stdin.drain()
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _do(self, entry: Entry) -> None:
        entry.state, self._running = RUNNING, entry
        await self._changed(entry)
        deadline, pause = time.monotonic() + _PATIENCE, 0.5
        try:
            while (told := await self._attempt(entry)).get("busy") and time.monotonic() < deadline and self._goes_on(entry):
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause), self._change:
                        await self._change.wait_for(lambda: not self._goes_on(entry))
                pause = min(2 * pause, 4.0)
        finally:
            self._running = self._process = None
        if self._goes_on(entry):
            entry.error = told.get("error") or entry.told.get("aborted") or _nothing_painted(entry.told)
            entry.state = FAILED if entry.error else DONE
        await self._changed(entry)

    def _goes_on(self, entry: Entry) -> bool:
        """Nobody has asked the running one to stop."""
        return entry.state == RUNNING and not self._closing

    async def _attempt(self, entry: Entry) -> dict[str, Any]:
        """Run the process to its end. Gives the last line that it has told."""
        module = "trainer.worker" if entry.kind == "train" else "stylebatch.page.worker"
        process = self._process = await started(module)
        if not self._goes_on(entry):  # any more
            process.kill()
        assert process.stdin
        assert process.stdout
        told: dict[str, Any] = {}
        watching = asyncio.create_task(self._watch(entry, process))
        try:
            with self._turns.of_process(Urgency.JOB, process) as self._let_go:
                with suppress(OSError):
                    process.stdin.write(json.dumps(entry.job).encode() + b"\n")
                    await process.stdin.drain()
                async for line in process.stdout:
                    told = json.loads(line)
                    entry.told = told.get("summary") or told.get("progress") or entry.told
                    entry.error = told.get("error", "")
                    if "losses" in told:
                        entry.history.append(told["losses"])
                    await self._changed(entry, save="summary" in told)
                code = await process.wait()
        finally:
            watching.cancel()
            entry.waits_for = ""
        if "summary" not in told and "error" not in told and self._goes_on(entry):
            return {"error": f"its process ended with status {code}: it may take more memory than there is; resume goes on"}
        return told

    async def _watch(self, entry: Entry, process: asyncio.subprocess.Process) -> None:
        """Say what it is held for, where that lasts."""
        before = None
        while True:
            await asyncio.sleep(_HELD)
            now = self._turns.ahead_of(process) if entry.state == RUNNING else None
            waits_for = "" if now is None or before is None else _AHEAD[now]
            if waits_for != entry.waits_for:
                entry.waits_for = waits_for
                await self._changed(entry, save=False)
            before = now

    async def _changed(self, entry: Entry | None, save: bool = True) -> None:
        self._count += 1
        if entry:
            entry.changed = self._count
            if save and entry.id in self._entries:
                kept = {name: value for name, value in asdict(entry).items() if name != "changed"}
                try:
                    with atomic_write(self._folder / f"{entry.id}.json") as file:
                        file.write(json.dumps(kept).encode())
                except OutputError as error:  # the job itself goes on
                    _log.warning("job %s will be forgotten with the server: %s", entry.id, error)
        async with self._change:
            self._change.notify_all()


def _nothing_painted(told: dict[str, Any]) -> str:
    """What people are told where all has failed; empty where something has not."""
    return "none of them could be painted" if told.get("failures") and not (told.get("done") or told.get("skipped")) else ""


def _read(path: Path) -> Entry | None:
    """None of a file that is none of ours."""
    try:
        told = json.loads(path.read_bytes())
        known = {each.name for each in fields(Entry)}
        entry = Entry(**{name: value for name, value in told.items() if name in known})
        return entry if path.stem == entry.id and entry.id.isdigit() else None
    except (OSError, ValueError, TypeError, AttributeError):
        _log.warning("passed over: %s is no job", path)
        return None
