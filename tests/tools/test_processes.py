"""Several processes on CPUs: they learn what one learns, and none waits for a dead one."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from cases import ROOT

RUN = ROOT / "tests/ddp_run.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run(*words):
    return subprocess.run(
        [str(word) for word in words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def succeeds(*words):
    done = run(*words)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_with_half_the_batch_learn_what_one_learns(tmp_path):
    succeeds(sys.executable, RUN, tmp_path / "one", 4)
    succeeds(*TORCHRUN, RUN, tmp_path / "two", 2)
    one, two = (torch.load(tmp_path / name / "weights.pth") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)


def test_sync_bn_becomes_batch_norm_on_cpus(tmp_path):
    succeeds(*TORCHRUN, RUN, tmp_path / "two", 2, "--sync-bn")
    assert "net.1.running_mean" in torch.load(tmp_path / "two/weights.pth")


def test_a_dead_process_ends_the_run_with_a_word(tmp_path):
    done = run(*TORCHRUN, RUN, tmp_path / "two", 2, "--die")
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert not Path(tmp_path, "two/weights.pth").exists()


def test_fsdp_trains_a_stock_detector_and_its_checkpoint_is_a_plain_one(workplace):
    few = ("toy_scenes.num_train=8", "toy_scenes.num_val=4", "train_cfg.max_epochs=1")
    sharded = (
        "runner_type=FlexibleRunner",
        "strategy.type=FSDPStrategy",
        "strategy.model_wrapper.use_orig_params=True",
        "strategy.state_dict_cfg=full",
    )
    config = "configs/coco/maskrcnn_anchorformer.py"
    workplace.succeeds(
        f"torchrun --standalone --nproc_per_node 2 tools/train.py {config} --toy --launcher pytorch", *few, *sharded
    )
    (log,) = (workplace.folder / "work_dirs/maskrcnn_anchorformer").glob("*/*.log")
    assert "FSDPStrategy" in log.read_text()
    workplace.succeeds(f"python tools/test.py {config} work_dirs/maskrcnn_anchorformer/epoch_1.pth --toy", *few)
    assert workplace.metrics("maskrcnn_anchorformer/test") == workplace.metrics("maskrcnn_anchorformer")
