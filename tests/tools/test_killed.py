"""A killed training leaves no process behind and its folder free; a live one shares its folder with no other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAIN = "python tools/train.py configs/coco/maskrcnn_anchorformer.py"
RUN = "maskrcnn_anchorformer"
SHORT = ("toy_scenes.num_train=8", "toy_scenes.num_val=4", "train_cfg.val_interval=1")
WORKERS = ("train_dataloader.num_workers=2", "train_dataloader.persistent_workers=True")


def children_of(process):
    """Processes by their number in /proc; those that only wait to be collected are gone."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process and state != "Z":
            found.add(int(stat.parent.name))
    return found


def is_alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_training_takes_its_workers_along_and_a_live_one_keeps_its_folder(workplace):
    options = ["--cfg-options", *SHORT, *WORKERS, "train_cfg.max_epochs=50"]
    environment = {**workplace.environment, "PYTHONUNBUFFERED": "1"}
    log = workplace.folder / "killed.log"
    with log.open("w") as out:
        run = subprocess.Popen(
            [*f"{TRAIN} --toy".split(), *options], cwd=workplace.folder, env=environment, stdout=out, stderr=out
        )
    try:
        assert wait_for((workplace.folder / "work_dirs" / RUN / "epoch_1.pth").is_file, 120), log.read_text()
        second = workplace.run(f"{TRAIN} --toy", *SHORT)
        assert second.returncode == 1
        assert f"another run is going in work_dirs/{RUN}: process {run.pid} on" in second.stderr
        assert "--work-dir" in second.stderr
        workers = children_of(run.pid)
        assert len(workers) >= 2
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    # At once, while workers may still be there.
    out = workplace.succeeds(f"{TRAIN} --toy --resume", *SHORT, *WORKERS, "train_cfg.max_epochs=1")
    assert "resuming from" in out or "already complete" in out
    assert wait_for(lambda: not any(map(is_alive, workers)), 10)
    assert not (workplace.folder / "work_dirs" / RUN / ".lock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ranks_end_with_the_launcher_that_was_killed(tmp_path):
    code = "import os, time; from pathlib import Path; from effvit_mm.parent_death import end_with_launcher\n"
    code += "end_with_launcher(); Path(os.environ['RANK']).touch(); time.sleep(600)"
    (tmp_path / "rank.py").write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "rank.py"]
    launcher = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(lambda: (tmp_path / "0").exists() and (tmp_path / "1").exists(), 60)
        ranks = children_of(launcher.pid)
        assert len(ranks) == 2
    finally:
        launcher.kill()
        launcher.wait()
    assert wait_for(lambda: not any(map(is_alive, ranks)), 10)
