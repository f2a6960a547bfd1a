"""The embedding cache among several processes: shared without doubles, and finished after one was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.unit.targets import embedding_process
from tests.unit.targets.embedding_process import N_STIMULI

SCRIPT = Path(embedding_process.__file__)


def started(cache: Path, log: Path, rank: int, world: int, *more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world)}
    environment["PYTHONPATH"] = str(SCRIPT.parents[3])
    return subprocess.Popen([sys.executable, str(SCRIPT), str(cache), str(log), *more], env=environment)


def embedded(log: Path) -> Counter[int]:
    return Counter(int(line) for line in log.read_text().split())


def records(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.glob("targets/*/*/chunks/*.json"))


def test_two_processes_share_the_chunks_without_doubles(tmp_path: Path) -> None:
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    processes = [started(tmp_path / "cache", log, rank, 2) for rank, log in enumerate(logs)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    counts = [embedded(log) for log in logs if log.exists()]
    whole = sum(counts, Counter())
    # Whoever comes first asks for one more, to learn the shape.
    whole[0] -= 1
    assert whole == Counter(range(N_STIMULI))


def test_a_killed_process_loses_and_doubles_nothing(tmp_path: Path) -> None:
    cache, first, second = tmp_path / "cache", tmp_path / "1.log", tmp_path / "2.log"
    # Fifteen chunks of two batches each: killed in the fifth or sixth.
    assert started(cache, first, 0, 1, "20").wait(timeout=60) == -signal.SIGKILL
    kept = records(cache)
    assert 0 < len(kept) < N_STIMULI // 4
    assert not list(cache.rglob("complete.json"))
    assert started(cache, second, 0, 1).wait(timeout=60) == 0
    whole = {row for name in kept for row in range(int(name[:5]) * 4, int(name[:5]) * 4 + 4)}
    assert embedded(second) == Counter(set(range(N_STIMULI)) - whole)


def test_others_finish_what_a_killed_one_had_claimed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    log = tmp_path / "dying.log"
    dying = started(cache, log, 0, 2, "16")
    while not log.exists() or len(log.read_text().split()) < 3:
        assert dying.poll() in (None, -signal.SIGKILL)
        time.sleep(0.005)
    steady = started(cache, tmp_path / "steady.log", 1, 2)
    assert dying.wait(timeout=60) == -signal.SIGKILL
    assert steady.wait(timeout=60) == 0
    assert len(list(cache.rglob("complete.json"))) == 1
