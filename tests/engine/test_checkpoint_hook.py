"""Checkpoints that make room: none too few after a mishap, none too many."""

from pathlib import Path

import kill_run
import pytest


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
