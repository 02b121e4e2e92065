"""Workers end with their parent, and still call what the config has them call first."""

import os
from functools import partial

import pytest
from torch.utils.data import DataLoader

from effvit_mm.engine import parent_death
from effvit_mm.engine.parent_death import end_with_launcher, end_workers_with_us


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
