"""Kill a training run again and again, resume it, and compare it with the run that was left alone, bit for bit.

    python tests/kill_campaign.py --kills 200 --loop epoch iter --workers 0 2

A killed run is a process group that gets SIGKILL at a random moment: while loading, training, validating or writing a
checkpoint. Exit status 1, with the difference, if a loss, a metric, a checkpoint's name or a weight differs.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import kill_run
import torch
from rich.progress import track

from effvit_mm.checkpoint import load_safely


def start(work_dir: Path, loop: str, workers: int) -> int:
    """Start a run that resumes whatever lies in its folder, in a process group of its own."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        with Path(f"{work_dir}.log").open("a") as log:
            os.dup2(log.fileno(), sys.stdout.fileno())
            os.dup2(log.fileno(), sys.stderr.fileno())
            kill_run.train(work_dir, loop, workers, resume=True)
        status = 0
    finally:
        os._exit(status)


def finish(process: int, seconds: float = 120.0) -> bool:
    """Wait for a run; True if it ended by itself, False if it was killed after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(f"a resumed run failed with status {status}")
            return True
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):  # it may not have made its group yet
        os.killpg(process, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return False


def read_diary(file: Path) -> dict[str, str]:
    """Read ``key value`` lines; a key that a resumed run wrote again must have the same value."""
    entries: dict[str, str] = {}
    for line in file.read_text().splitlines():
        key, value = line.split(" ", 1)
        if entries.setdefault(key, value) != value:
            raise SystemExit(f"{file}: {key} was {entries[key]} and, after a kill, {value}")
    return entries


def compare(whole: Path, killed: Path) -> None:
    """Stop with the first difference between two runs."""
    for name in ("losses.txt", "metrics.txt"):
        ours, theirs = read_diary(killed / name), read_diary(whole / name)
        if ours != theirs:
            raise SystemExit(f"{name} differs: {sorted(ours.items() ^ theirs.items())}")
    names = [sorted(path.name for path in folder.glob("*.pth")) for folder in (killed, whole)]
    if names[0] != names[1]:
        raise SystemExit(f"checkpoints differ: {names}")
    for name in names[0]:
        ours, theirs = load_safely(killed / name), load_safely(whole / name)
        for part in ("state_dict", "ema_state_dict"):
            for key, value in theirs[part].items():
                if not torch.equal(ours[part][key], value):
                    raise SystemExit(f"{name}: {part}.{key} differs")


def campaign(folder: Path, loop: str, workers: int, kills: int, rng: random.Random) -> int:
    """Run once undisturbed and then under kills; return how many hit a run that was still going."""
    whole = folder / f"whole_{loop}_{workers}"
    begin = time.monotonic()
    finish(start(whole, loop, workers))
    duration = time.monotonic() - begin
    hits = num_runs = 0
    for _ in track(range(kills), description=f"{loop} loop, {workers} workers", disable=not sys.stdout.isatty()):
        killed = folder / f"killed_{loop}_{workers}_{num_runs}"
        # A share of the moments falls behind the end: a run that has ended is resumed as well.
        if finish(start(killed, loop, workers), rng.uniform(0, duration * 1.05)):
            compare(whole, killed)
            shutil.rmtree(killed)
            num_runs += 1
        else:
            hits += 1
    finish(start(killed, loop, workers))
    compare(whole, killed)
    return hits


def main() -> None:
    """Run the campaign for every loop and number of workers asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills for each loop and number of workers")
    parser.add_argument("--loop", nargs="+", choices=("epoch", "iter"), default=["epoch", "iter"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        for loop in args.loop:
            for workers in args.workers:
                hits = campaign(Path(folder), loop, workers, args.kills, rng)
                print(f"{loop} loop, {workers} workers: {hits} kills, every loss, metric and weight the same")


if __name__ == "__main__":
    main()
