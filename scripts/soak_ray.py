#!/usr/bin/env python3
"""Kill a machine of a Ray cluster every 20 seconds while it paints a folder, and once the command itself.

    scripts/soak_ray.py [--files 2000] [--machines 3] [--every 20] [--seed 0] [--folder FOLDER]

The machines are Ray nodes here, with a core each; another takes the place of a killed one. One photograph is poisoned:
whoever opens it is killed, as the system kills who takes too much memory. Exits 1 unless every other result is there with
the bytes of a run without Ray, once in the manifest, and the poisoned one alone has failed, by its name. FOLDER keeps the
photographs and the run without Ray for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylebatch.manifest import NAME

OPTIONS = ("--device", "cpu", "--backend", "torch", "--precision", "fp32", "--workers", "0", "--json")
POISONED = "poisoned.png"


def make_photographs(folder: Path, count: int, rng: random.Random) -> None:
    for index in range(count):
        path = folder / f"{index % 7}" / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        size = rng.randrange(48, 128), rng.randrange(48, 128)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)


def command(source: Path, output: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "stylebatch", "folder", str(source), str(output), *OPTIONS, *options]


def start_run(words: list[str], said: Path) -> subprocess.Popen[bytes]:
    with said.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.DEVNULL)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kill_who_opens(path: Path, killed: Counter[str], stop: threading.Event) -> None:
    """Of Ray's workers; looks all the time."""
    looked, workers = 0.0, list[Path]()
    while not stop.wait(0.005):
        if time.monotonic() > looked + 0.5:
            looked, workers = time.monotonic(), [each for each in Path("/proc").glob("[0-9]*") if is_worker(each)]
        for process in workers:
            with suppress(OSError):
                if any(opened.readlink() == path for opened in (process / "fd").iterdir()):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed["poisoned workers"] += 1
                    looked = 0.0


def is_worker(process: Path) -> bool:
    with suppress(OSError):
        return (process / "cmdline").read_bytes().startswith(b"ray::")
    return False


class Machines:
    """A Ray cluster here whose machines die one after the other."""

    def __init__(self, count: int, every: float, rng: random.Random) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 10**8})
        self.every = every
        self.rng = rng
        for _ in range(count):
            self.add()
        self.cluster.wait_for_nodes()
        self.next = 0.0

    def add(self) -> None:
        self.cluster.add_node(num_cpus=1, object_store_memory=10**8)

    def end(self) -> None:
        for node in self.cluster.list_all_nodes():
            node.kill_all_processes(allow_graceful=False, check_alive=False)

    def kill_when_due(self) -> bool:
        self.next = self.next or time.monotonic() + self.every
        if time.monotonic() < self.next:
            return False
        self.next += self.every
        self.cluster.remove_node(self.rng.choice(sorted(self.cluster.worker_nodes, key=id)), allow_graceful=False)
        self.add()
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--every", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        kept = asked.folder or Path(folder)
        source, here, there = (each.resolve() for each in (kept / "in", kept / "here", Path(folder, "there")))
        if not source.exists():
            make_photographs(source, asked.files, rng)
        (source / POISONED).unlink(missing_ok=True)
        subprocess.run(command(source, here), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)).save(source / POISONED)

        killed: Counter[str] = Counter()
        stop = threading.Event()
        threading.Thread(target=kill_who_opens, args=(source / POISONED, killed, stop), daemon=True).start()
        machines = Machines(asked.machines, asked.every, rng)
        words = command(
            source, there, "--engine", "ray", "--ray-address", machines.cluster.address, "--cpus-per-worker", "1",
            "--ray-workers", str(asked.machines),
        )  # fmt: skip
        said = Path(folder, "summary.json")
        start = time.monotonic()
        run = start_run(words, said)
        while run.poll() is None:
            time.sleep(0.2)
            done = len([*there.glob("*/*.jpg")])
            if machines.kill_when_due():
                killed["machines"] += 1
                print(f"{time.monotonic() - start:4.0f} s: {done} done, {killed['machines']} machines killed", flush=True)
            if done > asked.files / 3 and not killed["commands"]:
                run.kill()
                run.wait()
                killed["commands"] += 1
                print(f"{time.monotonic() - start:4.0f} s: {done} done, the command is killed", flush=True)
                run = start_run(words, said)
        summary = json.loads(said.read_text())
        print(f"{time.monotonic() - start:4.0f} s: exit {run.returncode}, {dict(killed)} killed", flush=True)
        stop.set()

        expected, actual = files_in(here), files_in(there)
        named = Counter(json.loads(line)["output"] for line in actual.pop(NAME).splitlines())
        del expected[NAME]
        differing = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
        twice = [name for name, count in named.items() if count > 1]
        print(f"{len(actual)} results, {len(differing)} missing, more, or with other bytes: {differing[:5]}")
        print(f"{len(named)} in the manifest, {len(twice)} twice: {twice[:5]}")
        print(f"failed: {summary['failed']}")
        machines.end()
        right = [each["path"] for each in summary["failed"]] == [POISONED] and run.returncode == 1
        sys.exit(bool(differing or twice or named.keys() != expected.keys() or not right))


if __name__ == "__main__":
    main()
