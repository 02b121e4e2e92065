"""Every task with every backbone, ours beside stock ones of like cost, under one schedule: score, time, memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/task_matrix.py                         # all tasks on toy scenes
    OMP_NUM_THREADS=1 python tests/benchmarks/task_matrix.py --time                  # the time of a step in each
    python tests/benchmarks/task_matrix.py --tasks camvid --data camvid=data/camvid  # real pictures, from scratch
    python tests/benchmarks/task_matrix.py --tasks depth cls --backbones lit_ti ResNet-18

A cell is one run of ``tools/train.py`` with a config written to OUT/configs: the leaf of the dense yardstick with
another backbone and the channels that its neck and heads read. Its row goes to OUT/rows.jsonl, with ``--time`` to
OUT/times.jsonl; runs that have one are skipped, so a call can be stopped and repeated. Time is the median processor
time of 30 steps, loading left out; memory is the largest resident size of the training process, libraries and data
included. The table is that of all rows.
"""

import argparse
import json
import os
import pprint
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matrix_cells import BACKBONES, ROOT, TASKS, Task, config_of
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

Row = dict[str, Any]

# What times are the ratio to.
PEER = "ResNet-18"


def run_cell(
    task: Task, name: str, seed: int, folder: Path, data: str | None, hooks: Sequence[dict[str, Any]] = ()
) -> tuple[Path, Any]:
    """Run one cell; return where it worked, and what it used."""
    run = f"{Path(task.leaf).stem.partition('_')[0]}_{name}_{seed}".lower().replace("-", "_")
    config, work_dir = folder / "configs" / f"{run}.py", folder / "runs" / (run + ("_real" if task.real else ""))
    content = {"_base_": [str(ROOT / "configs" / task.leaf)], **config_of(task, BACKBONES[name], seed)}
    content["custom_hooks"] += hooks
    content["custom_imports"]["imports"] += ["step_times"]
    config.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{key} = {pprint.pformat(value, sort_dicts=False)}" for key, value in content.items())
    config.write_text("\n".join(lines) + "\n")
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    command = [sys.executable, str(ROOT / "tools/train.py"), str(config), "--work-dir", str(work_dir), *task.arguments]
    with open(work_dir / "output.txt", "w") as output:
        process = subprocess.Popen(
            command + (["--data-root", data] if data else []),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        )
        # Waited for by hand: the memory of this one child is asked for.
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}\nended with status {status}: {work_dir / 'output.txt'}")
    return work_dir, usage


def timed(task: Task, name: str, seed: int, folder: Path, data: str | None) -> Row:
    """Measure the steps of one cell."""
    work_dir, _ = run_cell(task, name, seed, folder / "timed", data, [dict(type="StepTimesHook", steps=30)])
    seconds = json.loads((work_dir / "step_times.json").read_text())
    return {"seconds": statistics.median(seconds), "threads": os.environ.get("OMP_NUM_THREADS")}


def trained(task: Task, name: str, seed: int, folder: Path, data: str | None) -> Row:
    """Train one cell and read what it left."""
    work_dir, usage = run_cell(task, name, seed, folder, data)
    figures = json.loads((work_dir / "metrics.json").read_text())
    for checkpoint in work_dir.glob("*.pth"):
        checkpoint.unlink()
    return {
        "gigabytes": usage.ru_maxrss * 1024 / 1e9,
        "processor_minutes": (usage.ru_utime + usage.ru_stime) / 60,
        "metrics": figures,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "torch": torch.__version__,
    }


def table_of(rows: Sequence[Row], times: Sequence[Row], *, real: bool) -> Table:
    """A row for each backbone: score, time over the peer's, memory; the mean over seeds. Last, the peer's seconds."""
    rows = [row for row in rows if TASKS[row["task"]].real == real]
    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    table = Table("backbone", caption=f"score · time of a step over {PEER}'s · peak memory in GB", box=box.MARKDOWN)
    for task in tasks:
        table.add_column(TASKS[task].label, justify="right")
    for name in [name for name in BACKBONES if any(row["backbone"] == name for row in rows)]:
        table.add_row(name, *(cell(rows, times, task, name) for task in tasks))
    peers = {row["task"]: f"{row['seconds']:.2f} s" for row in times if row["backbone"] == PEER}
    table.add_row(f"a step with {PEER}", *(peers.get(task, "-") for task in tasks))
    return table


def cell(rows: Sequence[Row], times: Sequence[Row], task: str, name: str) -> str:
    """The mean over the seeds of one task and backbone, and half of their range."""
    found = [row for row in rows if (row["task"], row["backbone"]) == (task, name)]
    if not found:
        return "-"
    scores = " / ".join(
        mean_of([row["metrics"][key] * TASKS[task].factor for row in found]) for key in TASKS[task].metrics
    )
    seconds = {row["backbone"]: row["seconds"] for row in times if row["task"] == task}
    both = name in seconds and PEER in seconds
    ratio = f"{seconds[name] / seconds[PEER]:.2f}" if both else "-"
    return f"{scores} · {ratio} · {statistics.fmean(row['gigabytes'] for row in found):.1f}"


def mean_of(values: Sequence[float]) -> str:
    """The mean, of several with half of their range."""
    digits = 3 if max(values) < 10 else 1
    text = f"{statistics.fmean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ±{(max(values) - min(values)) / 2:.{digits}f}"


def rows_in(file: Path) -> list[Row]:
    """The rows written so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def main() -> None:
    """Run what has no row yet, and show all there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    toy = [name for name, task in TASKS.items() if not task.real]
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=toy, help="(default: those on toy scenes)")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--time", action="store_true", help="measure steps in place of training; needs no other seeds")
    parser.add_argument("--data", nargs="+", default=[], metavar="TASK=FOLDER", help="where real data lie")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/task_matrix"))
    args = parser.parse_args()
    folders = dict(item.split("=", 1) for item in args.data)
    for name in args.tasks:
        if TASKS[name].real and name not in folders:
            parser.error(f"task {name} reads real pictures: --data {name}=FOLDER")
    cells = [(seed, task, name) for seed in args.seeds for task in args.tasks for name in args.backbones]
    cells = [one for one in cells if one[1] != "cls" or BACKBONES[one[2]].last is not None]
    out = args.out.absolute()
    file, make = (out / "times.jsonl", timed) if args.time else (out / "rows.jsonl", trained)
    with Progress() as progress:
        bar = progress.add_task("runs", total=len(cells))
        for seed, task, name in cells:
            about = dict(task=task, backbone=name, seed=seed)
            if not any(about.items() <= row.items() for row in rows_in(file)):
                progress.update(bar, description=f"{task}, {name}, seed {seed}")
                data = str(Path(folders[task]).absolute()) if task in folders else None
                row = {**about, **make(TASKS[task], name, seed, out, data)}
                with file.open("a") as output:
                    output.write(json.dumps(row) + "\n")
            progress.advance(bar)
    for real in (False, True):
        table = table_of(rows_in(out / "rows.jsonl"), rows_in(out / "times.jsonl"), real=real)
        if table.rows:
            Console(width=30 * len(table.columns)).print(table)


if __name__ == "__main__":
    main()
