"""A killed or crashed process that loads data ends a run with its likely cause and the way to go on."""

import gc
import os
import signal

import pytest
import torch
from kill_run import NoisyPoints, config
from mmengine.registry import DATASETS
from torch.utils.data import _utils, get_worker_info

from effvit_mm.engine.dead_worker import WorkerDiedError
from effvit_mm.engine.explain import explained
from effvit_mm.engine.runner import ExactRunner

DYING, WITH_VALIDATION = 8, 2  # the sample at which a worker goes, and the epoch that is followed by a validation

# A connection to a process that was killed is closed by nobody.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """torch waits this long for workers that do not answer; their connections end with the loader."""
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.3)
    yield
    gc.collect()


@DATASETS.register_module()
class MortalPoints(NoisyPoints):
    """Points at one of which the worker ends as ``death`` says."""

    def __init__(self, death, **kwargs):
        self.death = death
        super().__init__(**kwargs)

    def prepare_data(self, idx):
        if idx == DYING and get_worker_info() is not None:
            if self.death == "error":
                raise RuntimeError("DataLoader worker of another kind")
            os._exit(3) if self.death == "exit" else os.kill(os.getpid(), signal.Signals[self.death])
        return super().prepare_data(idx)


def death(tmp_path, how, split="train", workers=2):
    """What a run says that loses a worker of a split."""
    cfg = config(tmp_path, "epoch", workers)
    cfg.experiment_name = tmp_path.name
    cfg[f"{split}_dataloader"].dataset = dict(type="MortalPoints", death=how)
    with pytest.raises(WorkerDiedError) as caught, explained(cfg):
        ExactRunner.from_cfg(cfg).train()
    return str(caught.value)


def test_a_killed_worker_is_told_with_its_likely_cause_and_fewer_workers(tmp_path):
    text = death(tmp_path, "SIGKILL")
    assert text.startswith("a worker of train_dataloader (process ")
    assert "num_workers=2) died: Killed" in text
    assert "memory was full" in text
    assert "/dev/shm" in text
    assert "--resume and fewer of them, --cfg-options train_dataloader.num_workers=1" in text


def test_a_worker_of_the_validation_is_named_by_its_own_loader(tmp_path):
    text = death(tmp_path, "SIGKILL", split="val", workers=1)
    assert text.startswith("a worker of val_dataloader")
    assert "--resume" in text
    assert "val_dataloader.num_workers=0 val_dataloader.persistent_workers=False" in text
    assert (tmp_path / f"epoch_{WITH_VALIDATION}.pth").is_file()


def test_a_full_shared_memory_is_told_with_its_size(tmp_path):
    text = death(tmp_path, "SIGBUS")
    assert "died: Bus error. The shared memory was full: /dev/shm holds" in text
    assert "--shm-size" in text


def test_a_crash_is_not_blamed_on_the_memory(tmp_path):
    text = death(tmp_path, "SIGSEGV")
    assert "died: Segmentation fault. A library crashed inside it" in text
    assert "memory was full" not in text


def test_a_worker_that_leaves_by_itself_is_told_with_its_exit_status(tmp_path):
    assert "died: exit status 3" in death(tmp_path, "exit")


def test_an_error_inside_a_worker_stays_what_it_is(tmp_path):
    cfg = config(tmp_path, "epoch", 2)
    cfg.experiment_name = tmp_path.name
    cfg.train_dataloader.dataset = dict(type="MortalPoints", death="error")
    with pytest.raises(Exception, match="DataLoader worker of another kind") as caught, explained(cfg):
        ExactRunner.from_cfg(cfg).train()
    assert not isinstance(caught.value, WorkerDiedError)


def test_an_evaluation_that_loses_a_worker_is_run_again(tmp_path):
    cfg = config(tmp_path, "epoch", 2)
    cfg.experiment_name = tmp_path.name
    cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = cfg.val_dataloader, cfg.val_evaluator, dict()
    cfg.test_dataloader.dataset = dict(type="MortalPoints", death="SIGKILL")
    torch.set_num_threads(1)
    with pytest.raises(WorkerDiedError) as caught, explained(cfg):
        ExactRunner.from_cfg(cfg).test()
    text = str(caught.value)
    assert text.startswith("a worker of test_dataloader")
    assert "run again with fewer of them, --cfg-options test_dataloader.num_workers=1" in text
    assert "--resume" not in text
