"""Loading weights runs no code of theirs, through whatever door they come."""

import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from cases import ROOT
from mmengine.logging import HistoryBuffer
from torch import nn

from effvit_mm.checkpoint import UnsafeCheckpointError, load_safely, make_loading_safe


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def attack(tmp_path):
    """A checkpoint that would leave a trace, and the trace."""
    file, trace = tmp_path / "epoch_1.pth", tmp_path / "trace"
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "meta": {"seed": 0}, "extra": Attack(trace)}, file)
    return file, trace


def test_a_plain_checkpoint_is_read(tmp_path):
    weights = {"weight": torch.arange(3.0)}
    torch.save({"state_dict": weights, "meta": {"epoch": 3}}, tmp_path / "a.pth")
    assert load_safely(tmp_path / "a.pth")["state_dict"]["weight"].equal(weights["weight"])


def test_a_safetensors_file_is_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.arange(3.0)}, tmp_path / "a.safetensors")
    assert load_safely(tmp_path / "a.safetensors")["weight"].equal(torch.arange(3.0))


def test_the_log_and_the_numbers_of_mmengine_are_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    values = {"history": history, "array": np.arange(3), "scalar": np.float64(0.5), "count": np.int64(7)}
    torch.save(values, tmp_path / "a.pth")
    read = load_safely(tmp_path / "a.pth")
    assert read["history"].mean() == 1.5
    assert read["array"].tolist() == [0, 1, 2]
    assert (read["scalar"], read["count"]) == (0.5, 7)


def test_code_in_a_checkpoint_is_refused_by_name_and_not_run(attack):
    file, trace = attack
    with pytest.raises(UnsafeCheckpointError, match=r"epoch_1.pth is refused: .* asks to run posix.mkdir"):
        load_safely(file)
    assert not trace.exists()


def test_the_remedy_for_refused_code_is_never_to_switch_the_safety_off(attack):
    file, _ = attack
    with pytest.raises(UnsafeCheckpointError) as caught:
        load_safely(file)
    assert "weights_only" not in str(caught.value)
    assert "safetensors" in str(caught.value)
    assert "state_dict" in str(caught.value)


def test_getattr_reaches_the_four_methods_of_the_history_and_nothing_else(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, "__init__")

    torch.save({"extra": Reach()}, tmp_path / "a.pth")
    with pytest.raises(UnsafeCheckpointError, match="getattr"):
        load_safely(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1, 2], protocol=2)])
def test_a_file_that_is_no_checkpoint_says_so(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UnsafeCheckpointError, match=r"a.pth is (no|not a whole) checkpoint"):
        load_safely(tmp_path / "a.pth")


def test_a_torn_checkpoint_says_so(tmp_path):
    file = tmp_path / "a.pth"
    torch.save({"weight": torch.randn(1000)}, file)
    file.write_bytes(file.read_bytes()[:2000])
    assert not zipfile.is_zipfile(file)
    with pytest.raises(UnsafeCheckpointError, match="cut off"):
        load_safely(file)


def test_a_torn_safetensors_file_says_so(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\x10\x00\x00")
    with pytest.raises(UnsafeCheckpointError, match="safetensors"):
        load_safely(tmp_path / "a.safetensors")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_safely(tmp_path / "a.pth")


def test_mmengines_own_loaders_and_torch_refuse_code_too(attack, monkeypatch):
    from mmengine.model import BaseModule
    from mmengine.runner import CheckpointLoader, load_checkpoint

    file, trace = attack
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))
    make_loading_safe()

    class Net(BaseModule):
        def __init__(self):
            super().__init__(init_cfg=dict(type="Pretrained", checkpoint=str(file)))
            self.layer = nn.Linear(2, 2)

    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(nn.Linear(2, 2), str(file))
    with pytest.raises(UnsafeCheckpointError):
        Net().init_weights()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=False)
    assert not trace.exists()


@pytest.mark.parametrize(
    "command",
    [
        "tools/test.py {config} {file} --toy {few}",
        "tools/train.py {config} --toy --resume --work-dir {folder} {few}",
        "tools/train.py {config} --toy {few} load_from={file}",
        "tools/train.py {config} --toy {few} model.backbone.init_cfg.type=Pretrained "
        "model.backbone.init_cfg.checkpoint={file}",
    ],
)
def test_no_tool_runs_code_from_a_checkpoint(attack, tmp_path, command):
    file, trace = attack
    config = ROOT / "configs/coco/maskrcnn_anchorformer.py"
    few = "--cfg-options toy_scenes.num_train=4 toy_scenes.num_val=2 train_cfg.max_epochs=2"
    words = command.format(config=config, file=file, folder=file.parent, few=few).split()
    done = subprocess.run(
        [sys.executable, ROOT / words[0], *words[1:]],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "is refused" in done.stderr
    assert "posix.mkdir" in done.stderr
    assert "Traceback" not in done.stderr
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "message"), [(b"<html><body>", "it is a web page"), (b"\x89PNG\r\n", "it begins with")]
)
def test_what_is_no_checkpoint_is_described_without_torchs_advice(tmp_path, content, message):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(UnsafeCheckpointError, match=message) as caught:
        load_safely(file)
    assert "weights_only" not in str(caught.value)
