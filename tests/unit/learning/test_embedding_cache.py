"""The cache on disk: nothing lost, nothing invented, whatever the moment of a crash."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import CorruptFile
from ml_backend.learning.embedding_cache import EmbeddingCache, remove_cache

DIM = 5


def name(number: int) -> str:
    """Name the image of this number."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def vectors(*numbers: int) -> np.ndarray:
    """Make vectors that tell their number."""
    return np.array([[number] * DIM for number in numbers], np.float32).reshape(-1, DIM)


def fill(cache: EmbeddingCache, *numbers: int) -> None:
    cache.append([name(number) for number in numbers], vectors(*numbers))


def test_vectors_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key", DIM)
    fill(cache, 1, 2, 3)
    assert cache.rows([name(3), name(1), name(3)])[:, 0].tolist() == [3, 1, 3]
    assert cache.rows([]).shape == (0, DIM)
    assert cache.has_all([name(2), name(9)]) == [True, False]
    with pytest.raises(KeyError):
        cache.rows([name(9)])


def test_they_are_there_after_reopening(tmp_path: Path) -> None:
    fill(EmbeddingCache(tmp_path, "key", DIM), 1, 2)
    fill(EmbeddingCache(tmp_path, "key", DIM), 3)
    again = EmbeddingCache(tmp_path, "key", DIM)
    assert again.rows([name(n) for n in (1, 2, 3)]).tolist() == vectors(1, 2, 3).tolist()


def test_a_known_image_keeps_its_first_vector(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key", DIM)
    fill(cache, 1)
    cache.append([name(1), name(2), name(2)], vectors(7, 2, 2))
    assert len(cache) == 2
    assert cache.rows([name(1)])[0, 0] == 1


def test_a_reader_sees_what_another_process_appended_after_refreshing(tmp_path: Path) -> None:
    reader = EmbeddingCache(tmp_path, "key", DIM)
    fill(EmbeddingCache(tmp_path, "key", DIM), 1)
    assert not reader.has(name(1))
    reader.refresh()
    assert reader.rows([name(1)])[0, 0] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, DIM + 1)),
        np.zeros((2, DIM)),
        np.full((1, DIM), np.nan),
        np.full((1, DIM), np.inf),
    ],
)
def test_vectors_that_cannot_be_right_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    cache = EmbeddingCache(tmp_path, "key", DIM)
    with pytest.raises(ValueError, match="vectors_ND"):
        cache.append([name(1)], wrong)
    assert len(cache) == 0


def test_files_cut_at_any_byte_keep_their_whole_records_and_can_be_written_on(
    tmp_path: Path,
) -> None:
    fill(EmbeddingCache(tmp_path / "whole", "key", DIM), 1, 2)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    for cut_file in ("key.keys", "key.vectors"):
        for length in range(len(whole[cut_file])):
            folder = tmp_path / f"{cut_file}-{length}"
            folder.mkdir()
            for file, content in whole.items():
                (folder / file).write_bytes(content[:length] if file == cut_file else content)
            cache = EmbeddingCache(folder, "key", DIM)
            kept = len(cache)
            assert [cache.has(name(1)), cache.has(name(2))] == [kept >= 1, kept >= 2]
            fill(cache, 1, 2, 3)
            reopened = EmbeddingCache(folder, "key", DIM)
            assert reopened.rows([name(n) for n in (1, 2, 3)])[:, 0].tolist() == [1, 2, 3]


def test_a_tail_of_zeros_from_a_power_cut_is_cut_off(tmp_path: Path) -> None:
    fill(EmbeddingCache(tmp_path, "key", DIM), 1)
    for file in ("key.keys", "key.vectors"):
        with (tmp_path / file).open("ab") as tail:
            tail.write(bytes(400))
    cache = EmbeddingCache(tmp_path, "key", DIM)
    assert len(cache) == 1
    fill(cache, 2)
    assert EmbeddingCache(tmp_path, "key", DIM).rows([name(2)])[0, 0] == 2


@pytest.mark.parametrize("file", ["key.keys", "key.vectors"])
def test_a_foreign_file_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(b"something else entirely")
    with pytest.raises(CorruptFile, match=file):
        EmbeddingCache(tmp_path, "key", DIM)


def test_another_dimension_is_refused(tmp_path: Path) -> None:
    fill(EmbeddingCache(tmp_path, "key", DIM), 1)
    with pytest.raises(CorruptFile):
        EmbeddingCache(tmp_path, "key", DIM + 1)


def test_vectors_that_do_not_belong_to_their_keys_are_refused(tmp_path: Path) -> None:
    fill(EmbeddingCache(tmp_path / "a", "key", DIM), 1)
    fill(EmbeddingCache(tmp_path / "b", "key", DIM), 2)
    (tmp_path / "a" / "key.vectors").write_bytes((tmp_path / "b" / "key.vectors").read_bytes())
    with pytest.raises(CorruptFile, match="not the one that was written"):
        EmbeddingCache(tmp_path / "a", "key", DIM)


WRITER = """
import sys
from pathlib import Path
from tests.unit.learning.test_embedding_cache import DIM, EmbeddingCache, fill
cache = EmbeddingCache(Path(sys.argv[1]), "key", DIM)
print("writing", flush=True)
for start in range(int(sys.argv[2]), 10_000_000, 7):
    fill(cache, *range(start, start + 7))
"""


def start_writer(folder: Path, first: int) -> subprocess.Popen[str]:
    """Start a process that appends until it is killed."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(first)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def test_a_killed_writer_leaves_a_valid_cache_that_the_next_one_continues(tmp_path: Path) -> None:
    for attempt in range(4):
        writer = start_writer(tmp_path, attempt * 1_000_000)
        time.sleep(0.05 + 0.03 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        cache = EmbeddingCache(tmp_path, "key", DIM)
        first = attempt * 1_000_000
        there = [number for number in range(first, first + 20_000) if cache.has(name(number))]
        assert there == list(range(first, first + len(there)))
        assert cache.rows([name(n) for n in there])[:, 0].tolist() == there
    assert len(cache) > 7


def test_two_writing_processes_and_a_reader_do_not_disturb_each_other(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, first) for first in (0, 1_000_000)]
    reader = EmbeddingCache(tmp_path, "key", DIM)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        reader.refresh()
    for writer in writers:
        writer.kill()
        writer.communicate()
    reader.refresh()
    for first in (0, 1_000_000):
        assert reader.has(name(first))
        there = [n for n in range(first, first + 20_000) if reader.has(name(n))]
        assert reader.rows([name(n) for n in there])[:, 0].tolist() == there


def test_threads_may_share_one_cache(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "key", DIM)
    threads = [
        threading.Thread(target=fill, args=(cache, *range(k * 10, k * 10 + 15))) for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.rows([name(n) for n in range(85)])[:, 0].tolist() == list(range(85))
    assert len(cache) == 85


def test_a_removed_cache_is_empty_and_its_readers_read_on(tmp_path: Path) -> None:
    cache, other = (EmbeddingCache(tmp_path, key, DIM) for key in ("key", "other"))
    fill(cache, 1, 2)
    fill(other, 1)
    remove_cache(tmp_path, "key")
    remove_cache(tmp_path, "key")  # twice is once
    assert cache.rows([name(2)]).tolist() == vectors(2).tolist()
    assert len(EmbeddingCache(tmp_path, "key", DIM)) == 0
    assert len(EmbeddingCache(tmp_path, "other", DIM)) == 1
