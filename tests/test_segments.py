"""Films are encoded in several segments at once: the same bytes whatever the number of cores, and nothing lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.clips import make_clip

from stylebatch import VideoOptions, VideoSink, VideoSource
from stylebatch.errors import OutputError
from stylebatch.video import segments
from stylebatch.video.relay import Relay, in_order
from stylebatch.video.work import Segment, Work

pytestmark = pytest.mark.usefixtures("short_segments")


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.webm"])
def test_the_same_bytes_on_any_number_of_cores(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=33)
    made: list[set[bytes]] = []
    for cores in (1, 12):
        monkeypatch.setattr(segments, "cores", lambda cores=cores: cores)
        film = VideoSource(clip)
        with VideoSink(tmp_path / name, film, {}, overwrite=True) as sink:
            for frame in film:
                sink.add(frame.info, frame.pixels, 255 - frame.pixels)
            sink.close()
            sink._segments.close()
            made.append({path.read_bytes() for path in sorted(sink._work.folder.glob("*.packets"))})
        assert len(made[-1]) == 7
        (tmp_path / name).unlink()
    assert made[0] == made[1]


def test_several_are_encoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "cores", lambda: 8)
    film = VideoSource(make_clip(tmp_path / "a.mp4", frames=40, size=(320, 240)), VideoOptions(preset="veryslow"))
    most = 0
    with VideoSink(tmp_path / "b.mp4", film) as sink:
        for frame in film:
            sink.add(frame.info, frame.pixels, 255 - frame.pixels)
            most = max(most, sum(thread.name == "encode" for thread in threading.enumerate()))
    assert 2 <= most <= 4 + 1  # of which one may be about to end
    assert not [thread for thread in threading.enumerate() if thread.name in ("encode", "relay")]


def test_a_failed_encoder_is_one_line(tmp_path: Path) -> None:
    """A frame at a time that has been."""
    film = VideoSource(make_clip(tmp_path / "a.mp4", frames=30))
    frames = list(film)
    sink = VideoSink(tmp_path / "b.mp4", film, {})

    def feed() -> None:
        for frame in frames:
            info = replace(frame.info, extra=frames[6].info.extra) if frame.info.index == 8 else frame.info
            sink.add(info, frame.pixels, frame.pixels)
        sink.finish()

    with pytest.raises(OutputError, match=r"b\.mp4: h264 made 5 of 5 frames at their times$"):
        feed()
    sink.release()
    assert not (tmp_path / "b.mp4").exists()


def test_a_kill_amid_several_segments(tmp_path: Path) -> None:
    """Frames of a killed run count up to the first that is missing, and where they depend on each other, up to a state."""

    def killed() -> None:
        work = Work(tmp_path / "b.mp4", "key", 5, anew=True)
        for number in range(13):
            work.keep(number, number, 1, bytes([number]) * 100)
            if number % 5 == 4:
                work.keep_state(number // 5 + 1, 0, b"state %d" % (number // 5 + 1))
        work.close()

    def left(stateful: bool) -> tuple[int, bytes]:
        work = Work(tmp_path / "b.mp4", "key", 5, stateful=stateful)
        frames = list(work.left_frames())
        assert [(pts, data[0]) for pts, _, data in frames] == [(number, number) for number in range(len(frames))]
        assert work.kept == len(frames)
        work.keep(len(frames), len(frames), 1, b"more")
        assert work.kept == len(frames) + 1
        work.close()
        return len(frames), work.state

    killed()
    assert left(stateful=False) == (13, b"")
    killed()
    assert left(stateful=True) == (10, b"state 2")
    killed()
    second = next(tmp_path.glob(".stylebatch-*/000001.frames"))
    second.write_bytes(second.read_bytes()[:-50])
    assert left(stateful=True) == (5, b"state 1")
    killed()
    second.write_bytes(second.read_bytes()[:-50])
    assert left(stateful=False) == (9, b"")
    killed()
    next(tmp_path.glob(".stylebatch-*/000000.frames")).unlink()
    assert left(stateful=True) == (0, b"")


def test_frames_that_find_no_room_are_not_kept_halfway(tmp_path: Path) -> None:
    """Those after a gap are no beginning of their segment."""
    work = Work(tmp_path / "b.mp4", "key", 5)
    for number in range(7):
        work.keep(number, number, 1, b"data")
        if number == 5:
            work._frames.drop()
    assert work.kept == 0
    work.close()
    again = Work(tmp_path / "b.mp4", "key", 5)
    assert list(again.left_frames()) == []
    again.close()


def test_no_frame_is_missing_from_the_count_while_a_segment_is_closed(tmp_path: Path) -> None:
    """From one of the threads that share the folder: a run begins at this number, and tells it where it is stopped."""
    work = Work(tmp_path / "b.mp4", "key", 5)
    counted, over = [0], threading.Event()

    def count() -> None:
        while not over.is_set():
            counted.append(work.done)

    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count)
        for number in range(50):
            work.keep(number, number, 1, b"data")
            if number % 5 == 4:
                work.add(Segment(5, number - 4, number, 1, 0, 0, ""), [])
        over.set()
        counting.result()
    work.remove()
    assert counted == sorted(counted)


def test_a_sink_goes_on_after_the_frames_that_it_has_taken_from_another(tmp_path: Path) -> None:
    """Though these lose their room before it is given more."""
    film = VideoSource(make_clip(tmp_path / "a.mp4", frames=8))
    frames = list(film)
    sink = VideoSink(tmp_path / "b.mp4", film, {})
    for frame in frames[:4]:
        sink.add(frame.info, frame.pixels, frame.pixels)
    sink.close()
    sink.release()
    again = VideoSink(tmp_path / "b.mp4", film, {})
    again._work._frames.drop()
    for frame in frames[again.next :]:
        again.add(frame.info, frame.pixels, frame.pixels)
    again.finish()
    again.release()
    assert len(list(VideoSource(tmp_path / "b.mp4"))) == 8


def test_in_order() -> None:
    def late(number: int) -> int:
        time.sleep(0.02 * (number % 3 == 0))
        if number == 20:
            raise ValueError("twenty")
        return number

    assert list(in_order(late, range(20), 4)) == list(range(20))
    taken: list[int] = []
    with pytest.raises(ValueError, match="twenty"):
        taken.extend(in_order(late, range(40), 4))
    results = in_order(late, iter(range(10**9)), 4)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]


def test_a_relay_keeps_the_order_and_the_first_error() -> None:
    taken: list[float] = []

    def take(seconds: float) -> None:
        if seconds < 0:
            raise ValueError("no time")
        taken.append(seconds)

    with ThreadPoolExecutor(4) as pool:
        relay = Relay(take, ahead=3)
        for seconds in (0.05, 0.0, 0.02, -1.0, 0.01):
            relay.put(pool.submit(lambda seconds=seconds: time.sleep(max(0, seconds)) or seconds))
        relay.close()
    assert taken == [0.05, 0.0, 0.02]
    assert str(relay.error) == "no time"
