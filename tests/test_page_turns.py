"""Of what the page has to do that is heavy, one piece is done at a time, by its urgency, and none for nobody."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra `page`")

from starlette.exceptions import HTTPException
from starlette.requests import Request

from stylebatch.page.lanes import Check, Lane, Turns, Urgency

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Client:
    """One whose connection can be closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.closed.wait()
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        return Request({"type": "http"}, self.receive)


class Slow:
    """Work that has begun, and goes on when it is told to, past a check."""

    def __init__(self) -> None:
        self.begun, self.go_on = Event(), Event()

    def __call__(self, check: Check) -> str:
        self.begun.set()
        assert self.go_on.wait(30)
        check()
        return "painted"

    async def until_begun(self) -> None:
        await asyncio.to_thread(self.begun.wait, 30)


def run(work: Callable[[Lane, Lane, Turns], Awaitable[Any]]) -> Any:
    """With a lane of drafts and one of looks."""

    async def in_loop() -> Any:
        turns = Turns()
        lanes = Lane(turns, Urgency.DRAFT), Lane(turns, Urgency.LOOK)
        try:
            return await work(*lanes, turns)
        finally:
            for lane in lanes:
                lane.close()

    return asyncio.run(in_loop())


def status(outcome: object) -> int:
    assert isinstance(outcome, HTTPException), outcome
    return outcome.status_code


def test_newer_work_takes_the_place_of_older_and_what_nobody_waits_for_is_not_begun() -> None:
    done: list[str] = []

    def work(name: str) -> Callable[[Check], str]:
        return lambda _: done.append(name) or name  # type: ignore[func-returns-value]

    async def ask(drafts: Lane, _looks: Lane, _turns: Turns) -> list[Any]:
        slow, closed = Slow(), Client()
        tasks = [asyncio.create_task(drafts.do(Client().request, slow))]
        await slow.until_begun()
        tasks += [asyncio.create_task(drafts.do(Client().request, work(name), "slider")) for name in ("one", "two", "three")]
        tasks += [asyncio.create_task(drafts.do(closed.request, work("closed tab")))]
        await asyncio.sleep(0)
        closed.closed.set()
        await asyncio.sleep(0.01)
        slow.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    slow, one, two, three, closed = run(ask)
    assert (slow, three) == ("painted", "three")
    assert [status(one), status(two), status(closed)] == [409, 409, 499]
    assert done == ["three"]


@pytest.mark.parametrize(
    ("draft", "newer", "told"),
    [(False, False, 499), (True, False, 499), (False, True, 409), (True, True, None)],
    ids=["look, closed tab", "draft, closed tab", "look, newer one", "draft, newer one"],
)
def test_what_has_begun_stops_at_its_next_check(draft: bool, newer: bool, told: int | None) -> None:
    """But a draft that has begun is shown: newer and newer ones would leave nothing to see."""

    async def ask(drafts: Lane, looks: Lane, _turns: Turns) -> Any:
        lane, slow, client = drafts if draft else looks, Slow(), Client()
        older = asyncio.create_task(lane.do(client.request, slow, "slider"))
        await slow.until_begun()
        if newer:
            other = asyncio.create_task(lane.do(Client().request, lambda _: "newer", "slider"))
        else:
            client.closed.set()
        await asyncio.sleep(0.01)
        slow.go_on.set()
        (outcome,) = await asyncio.gather(older, return_exceptions=True)
        assert not newer or await other == "newer"
        return outcome

    outcome = run(ask)
    assert outcome == "painted" if told is None else status(outcome) == told


def test_a_draft_is_painted_between_the_layers_of_a_look() -> None:
    done: list[str] = []

    async def ask(drafts: Lane, looks: Lane, _turns: Turns) -> None:
        slow = Slow()

        def look(check: Check) -> None:
            done.append("look begins")
            slow(check)
            done.append("look ends")

        looked = asyncio.create_task(looks.do(Client().request, look))
        await slow.until_begun()
        drafted = asyncio.create_task(drafts.do(Client().request, lambda _: done.append("draft")))
        await asyncio.sleep(0.05)
        assert done == ["look begins"], "two at once"
        slow.go_on.set()
        await asyncio.gather(looked, drafted)

    run(ask)
    assert done == ["look begins", "draft", "look ends"]


async def busy() -> Process:
    """A process that computes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print(flush=True)\nwhile True: pass", process_group=0, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    await process.stdout.readline()
    return process


def is_held(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def until_held(process: Process, held: bool = True) -> None:
    """A signal takes a moment."""
    deadline = time.monotonic() + 10
    while is_held(process) != held:
        assert time.monotonic() < deadline, f"held: {not held}"
        await asyncio.sleep(0.001)


@LINUX
def test_processes_are_held_while_something_more_urgent_computes() -> None:
    async def ask(drafts: Lane, _looks: Lane, turns: Turns) -> None:
        job, save, slow = await busy(), await busy(), Slow()
        try:
            with turns.of_process(Urgency.JOB, job):
                assert not is_held(job)
                with turns.of_process(Urgency.SAVE, save):
                    await until_held(job)
                    draft = asyncio.create_task(drafts.do(Client().request, slow))
                    await slow.until_begun()
                    await until_held(save)
                    slow.go_on.set()
                    await draft
                    await until_held(save, False)
                    assert is_held(job)
                await until_held(job, False)
        finally:
            job.kill()
            save.kill()
            await asyncio.gather(job.wait(), save.wait())

    run(ask)


@LINUX
def test_a_job_that_begins_meanwhile_waits_and_one_that_is_to_stop_goes_on() -> None:
    async def ask(drafts: Lane, _looks: Lane, turns: Turns) -> None:
        job, slow = await busy(), Slow()
        try:
            draft = asyncio.create_task(drafts.do(Client().request, slow))
            await slow.until_begun()
            with turns.of_process(Urgency.JOB, job) as let_go:
                await until_held(job)
                let_go()
                await until_held(job, False)
            slow.go_on.set()
            await draft
        finally:
            job.kill()
            await job.wait()

    run(ask)


def test_a_lane_that_is_full_says_so() -> None:
    async def ask(_drafts: Lane, _looks: Lane, turns: Turns) -> None:
        lane = Lane(turns, Urgency.DRAFT, most=0)
        try:
            await lane.do(Client().request, lambda _: None)
        finally:
            lane.close()

    with pytest.raises(HTTPException, match="too many"):
        run(ask)
