"""Checkpoints that make room: none too few after a mishap, none too many."""

from pathlib import Path

import kill_run
import pytest
import torch

from effvit_mm.checkpoint import load_safely
from effvit_mm.errors import BadInputError


def test_a_run_killed_before_it_removes_an_old_checkpoint_removes_it_when_resumed(tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def die(path, missing_ok=False):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KilledError):
            kill_run.train(tmp_path, "epoch", 0, resume=False)
    assert {path.name for path in tmp_path.glob("epoch_*.pth")} == {f"epoch_{i}.pth" for i in (1, 2, 3)}
    kill_run.train(tmp_path, "epoch", 0, resume=True)
    assert {path.name for path in tmp_path.glob("epoch_*.pth")} == {"epoch_3.pth", "epoch_4.pth"}


def test_a_checkpoint_without_the_state_of_the_schedule_is_not_resumed(tmp_path):
    kill_run.train(tmp_path, "iter", 0, resume=False)
    latest = tmp_path / "iter_16.pth"
    content = load_safely(latest)
    torch.save({**content, "param_schedulers": {}}, latest)
    with pytest.raises(BadInputError, match=r"iter_16.pth cannot be resumed: it lacks param_schedulers"):
        kill_run.train(tmp_path, "iter", 0, resume=True)
