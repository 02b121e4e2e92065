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

VALIDATION = 0.1  # seconds, about what one takes


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


def finish(process: int, seconds: float = 120.0, since: Path | None = None) -> bool:
    """Wait for a run; True if it ended by itself, False if it was killed ``seconds`` after it began, or ``since`` was.

    Args:
        process: The run.
        seconds: How long it goes on.
        since: A file from whose appearance on the seconds count.
    """
    end = time.monotonic() + (seconds if since is None else 120.0)
    while time.monotonic() < end:
        if since is not None and since.exists():
            since, end = None, time.monotonic() + seconds
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


def campaign(folder: Path, loop: str, workers: int, kills: int, rng: random.Random) -> tuple[int, int]:
    """Run once undisturbed and then under kills; return how many hit a run still going, and in its validation."""
    whole = folder / f"whole_{loop}_{workers}"
    begin = time.monotonic()
    finish(start(whole, loop, workers))
    duration = time.monotonic() - begin
    hits = in_validation = num_runs = 0
    for _ in track(range(kills), description=f"{loop} loop, {workers} workers", disable=not sys.stdout.isatty()):
        killed = folder / f"killed_{loop}_{workers}_{num_runs}"
        process = start(killed, loop, workers)
        # Every other kill waits for a validation. A share of the moments falls behind the end: a run that has ended is
        # resumed as well.
        moment = (rng.uniform(0, VALIDATION), killed / "validating") if rng.random() < 0.5 else None
        if finish(process, *(moment or (rng.uniform(0, duration * 1.05),))):
            compare(whole, killed)
            shutil.rmtree(killed)
            num_runs += 1
        else:
            hits += 1
            if (killed / "validating").exists():
                in_validation += 1
                (killed / "validating").unlink()
    finish(start(killed, loop, workers))
    compare(whole, killed)
    return hits, in_validation


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
                hits, in_validation = campaign(Path(folder), loop, workers, args.kills, rng)
                print(
                    f"{loop} loop, {workers} workers: {hits} kills, {in_validation} of them in validation, "
                    f"every loss, metric and weight the same"
                )


if __name__ == "__main__":
    main()
