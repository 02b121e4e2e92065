"""Every task with every backbone, ours beside stock ones of like cost, under one schedule: score, time, memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/task_matrix.py                         # all tasks on toy scenes
    OMP_NUM_THREADS=1 python tests/benchmarks/task_matrix.py --time                  # the time of a step in each
    python tests/benchmarks/task_matrix.py --tasks camvid --data camvid=data/camvid  # real pictures, from scratch
    python tests/benchmarks/task_matrix.py --tasks depth cls --backbones lit resnet18

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import effvit_mm  # noqa: F401  (stock bases of the maintained distributions are found with it)

ROOT = Path(__file__).resolve().parents[2]
ALL = (0, 1, 2, 3)

Row = dict[str, Any]


@dataclass(frozen=True)
class Backbone:
    """What a cell trains.

    Args:
        spec: Its config.
        channels: Of the maps of stride 4, 8, 16 and 32.
        classifier: Its config under mmpretrain, which wants the last map in a tuple; None where that is the same.
        last: Which map a classifier averages; None where there is no classifier.
        hooks: What its training needs beside the report.
    """

    spec: dict[str, Any]
    channels: tuple[int, int, int, int]
    classifier: dict[str, Any] | None = None
    last: int | None = 3
    hooks: tuple[str, ...] = ()


SMALL = dict(num_layers=[2, 2, 2, 2], embed_dims=32)
TOSA_HOOKS = ("SelectorLossHook", "KeepAnnealingHook")
BACKBONES = {
    "anchorformer_t": Backbone(dict(type="AnchorFormer", variant="t"), (32, 64, 160, 256)),
    "tosa_deit_t": Backbone(dict(type="ToSADeiT", variant="t", keep=0.5), (48, 96, 192, 192), last=2, hooks=TOSA_HOOKS),
    "lit_ti": Backbone(dict(type="LIT", variant="ti"), (64, 128, 320, 512)),
    "pyramid_t": Backbone(dict(type="Pyramid", variant="t"), (32, 64, 160, 256)),
    "MiT-B0": Backbone(
        dict(type="mmseg.MixVisionTransformer", num_heads=[1, 2, 5, 8], **SMALL), (32, 64, 160, 256), last=None
    ),
    "ResNet-18": Backbone(
        dict(type="mmdet.ResNet", depth=18, norm_eval=False),
        (64, 128, 256, 512),
        classifier=dict(type="mmpretrain.ResNet", depth=18),
    ),
    "PVTv2-B0": Backbone(
        dict(type="mmdet.PyramidVisionTransformerV2", **SMALL),
        (32, 64, 160, 256),
        classifier=dict(type="mmpretrain.TIMMBackbone", model_name="pvt_v2_b0", features_only=True),
    ),
}


@dataclass(frozen=True)
class Task:
    """A column of the table.

    Args:
        leaf: The config whose backbone is replaced.
        metric: Name in ``metrics.json``.
        label: Name in the table.
        factor: From the one to the other.
        arguments: Of ``tools/train.py``.
        real: Whether it wants a folder of real data, ``--data NAME=FOLDER``.
        config: What its config says beside the backbone.
    """

    leaf: str
    metric: str
    label: str
    factor: float = 1
    arguments: tuple[str, ...] = ("--toy",)
    real: bool = False
    config: dict[str, Any] = field(default_factory=dict)


def half_size(*, training: bool) -> dict[str, Any]:
    """A loader of NYU's pictures at half their sides, which a CPU trains on in minutes."""
    keys = ("img_path", "depth_map_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
    resize, pack = dict(type="Resize", scale=(320, 240)), dict(type="PackSegInputs", meta_keys=keys)
    load, truth = dict(type="LoadImageFromFile"), dict(type="LoadDepth")
    change = [
        dict(type="RandomRotate", prob=0.5, degree=2.5, pad_val=0, seg_pad_val=0),
        dict(type="RandomFlip", prob=0.5),
        dict(type="RandomCrop", crop_size=(192, 256)),
        dict(type="RandomGammaBrightnessColor", prob=0.5),
    ]
    # Behind Resize, a prediction is enlarged to the file's size and compared there.
    pipeline = [load, truth, resize, *change, pack] if training else [load, resize, truth, pack]
    dataset = dict(data_prefix=dict(img_path="", depth_map_path=""), pipeline=pipeline)
    return dict(num_workers=1, batch_size=8 if training else 1, dataset=dataset)


def cycle(peak: float, steps: int, *, epochs: int | None = None) -> dict[str, Any]:
    """One cycle of the learning rate, evaluated at its end."""
    unit, number = ("epochs", epochs) if epochs else ("iters", steps)
    return dict(
        train_cfg={f"max_{unit}": number, "val_interval": number},
        param_scheduler=[dict(type="OneCycleLR", eta_max=peak, total_steps=steps, by_epoch=False)],
        default_hooks=dict(checkpoint=dict(interval=number), logger=dict(interval=10)),
    )


TASKS = {
    "maskrcnn": Task("coco/maskrcnn_pyramid.py", "coco/segm_mAP_50", "Mask R-CNN, mask AP50", 100),
    "retinanet": Task("coco/retinanet_pyramid.py", "coco/bbox_mAP_50", "RetinaNet, box AP50", 100),
    "upernet": Task("ade20k/upernet_pyramid.py", "mIoU", "UPerNet, mIoU"),
    "semfpn": Task("ade20k/semfpn_pyramid.py", "mIoU", "Semantic FPN, mIoU"),
    "depth": Task("nyu/depth_pyramid.py", "depth/rmse", "depth, RMSE in m"),
    "cls": Task("imagenet/cls_pyramid.py", "accuracy/top1", "top-1 of 3 classes"),
    "camvid": Task(
        "camvid/semfpn_anchorformer.py", "mIoU", "CamVid, mIoU", arguments=(), real=True, config=cycle(1e-3, 450)
    ),
    "nyu": Task(
        "nyu/depth_pyramid.py",
        "depth/rmse",
        "NYU subset, RMSE in m",
        arguments=(),
        real=True,
        config={
            **cycle(5e-4, 20 * 19, epochs=20),
            "model": dict(test_cfg=dict(mode="whole"), decode_head=dict(channels=64)),
            "train_dataloader": {**half_size(training=True), "drop_last": True},
            "val_dataloader": half_size(training=False),
            "test_dataloader": half_size(training=False),
            "optim_wrapper": dict(clip_grad=dict(max_norm=5.0)),
        },
    ),
    "coco": Task(
        "coco/maskrcnn_pyramid.py",
        "coco/segm_mAP_50",
        "8 pictures of COCO by heart, mask AP50",
        100,
        # A third of the steps the overlay has for 16.
        arguments=(
            *("--overfit", "8", "--cfg-options", "train_cfg.max_epochs=100", "train_cfg.val_interval=100"),
            *("default_hooks.checkpoint.interval=100", "param_scheduler.0.total_steps=400"),
        ),
        real=True,
    ),
}


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Join two nested configs; the second wins."""
    joined = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = merged(joined[key], value) if both else value
    return joined


def config_of(task: Task, backbone: Backbone, seed: int) -> dict[str, Any]:
    """What a cell's config says beside its bases."""
    method = Path(task.leaf).name.partition("_")[0]
    spec, places = backbone.spec, ALL
    if method == "retinanet":
        places = (1, 2, 3)
    elif method == "cls":
        spec, places = backbone.classifier or spec, (backbone.last,)
    channels = [backbone.channels[place] for place in places]
    model: dict[str, Any] = {"backbone": {"_delete_": True, **spec, "out_indices": places}}
    if method in ("maskrcnn", "retinanet", "semfpn"):
        model["neck"] = {"in_channels": channels}
    elif method == "cls":
        model["head"] = {"in_channels": channels[0]}
    else:
        model["decode_head"] = {"in_channels": channels}
    if method == "upernet":
        model["auxiliary_head"] = {"in_channels": channels[2]}
    hooks = [dict(type=name) for name in ("RunReportHook", *backbone.hooks)]
    # Other libraries' backbones are found once those libraries have registered them.
    found = str(spec["type"]).partition(".")[0]
    libraries = [f"{found}.models"] if found in ("mmdet", "mmseg", "mmpretrain") else []
    imports = [*libraries, *Config.fromfile(ROOT / "configs" / task.leaf).custom_imports["imports"]]
    config = dict(model=model, custom_hooks=hooks, custom_imports=dict(imports=imports), randomness=dict(seed=seed))
    return merged(config, task.config)


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
        "score": figures[task.metric] * task.factor,
        "gigabytes": usage.ru_maxrss * 1024 / 1e9,
        "processor_minutes": (usage.ru_utime + usage.ru_stime) / 60,
        "metrics": figures,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "torch": torch.__version__,
    }


def table_of(rows: Sequence[Row], times: Sequence[Row]) -> Table:
    """A row for each backbone: score, time over the yardstick's, memory; the mean over seeds."""
    tasks = [task for task in TASKS if any(row["task"] == task for row in rows)]
    table = Table("backbone", title="score · time of a step over pyramid_t's · peak memory in GB")
    for task in tasks:
        table.add_column(TASKS[task].label, justify="right")
    for name in BACKBONES:
        table.add_row(name, *(cell(rows, times, task, name) for task in tasks))
    return table


def cell(rows: Sequence[Row], times: Sequence[Row], task: str, name: str) -> str:
    """The mean over the seeds of one task and backbone, and half of their range."""
    found = [row for row in rows if (row["task"], row["backbone"]) == (task, name)]
    if not found:
        return "-"
    scores = [row["score"] for row in found]
    digits = 3 if TASKS[task].factor == 1 and max(scores) < 10 else 1
    text = f"{statistics.fmean(scores):.{digits}f}"
    if len(scores) > 1:
        text += f" ±{(max(scores) - min(scores)) / 2:.{digits}f}"
    seconds = {row["backbone"]: row["seconds"] for row in times if row["task"] == task}
    both = name in seconds and "pyramid_t" in seconds
    ratio = f"{seconds[name] / seconds['pyramid_t']:.2f}" if both else "-"
    return f"{text} · {ratio} · {statistics.fmean(row['gigabytes'] for row in found):.1f}"


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
    table = table_of(rows_in(out / "rows.jsonl"), rows_in(out / "times.jsonl"))
    Console(width=40 + 30 * len(table.columns)).print(table)


if __name__ == "__main__":
    main()
