"""Workers end with their parent, and still call what the config has them call first."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from torch.utils.data import DataLoader

from effvit_mm import parent_death
from effvit_mm.parent_death import end_with_launcher, end_workers_with_us


def note(worker_id, folder):
    (folder / f"worker_{worker_id}").touch()


def test_the_first_call_of_workers_is_still_theirs(tmp_path):
    loader = DataLoader(range(4), num_workers=2, worker_init_fn=partial(note, folder=tmp_path))
    assert [int(batch) for batch in end_workers_with_us(end_workers_with_us(loader))] == [0, 1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker_0", "worker_1"]


@pytest.mark.parametrize("launched", [True, False])
def test_only_what_torchrun_started_ends_with_its_parent(monkeypatch, launched):
    watched = []
    monkeypatch.setattr(parent_death, "end_with", watched.append)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if launched:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    end_with_launcher()
    assert watched == ([os.getppid()] if launched else [])


KILLED = """
import os, sys, time
import numpy as np
from torch.utils.data import DataLoader
from effvit_mm.parent_death import end_workers_with_us
samples = [np.zeros(200_000, np.uint8) for _ in range(100)]  # each larger than a pipe
loader = DataLoader(samples, batch_size=None, num_workers=2, collate_fn=bytes)
iterator = iter(end_workers_with_us(loader))
next(iterator)
time.sleep(1)  # the workers have loaded ahead
print(*(worker.pid for worker in iterator._workers), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_that_wait_to_hand_over_large_samples_end_with_a_killed_process(tmp_path):
    with (tmp_path / "pids").open("w") as out:
        done = subprocess.run([sys.executable, "-c", KILLED], stdout=out, stderr=subprocess.DEVNULL, check=False)
    assert done.returncode == -signal.SIGKILL
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    end = time.monotonic() + 12
    while (alive := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    for pid in alive:
        os.kill(int(pid), signal.SIGKILL)
    assert not alive


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
