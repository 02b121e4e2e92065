"""Damage pictures, annotations, configs, checkpoints and released weights in hundreds of ways; train, test and convert.

    python tests/mutation_campaign.py --cases 300
    python tests/mutation_campaign.py --case picture_truncated --seed 7      # one case, with all it prints

Every case must work or end with a message that names what is wrong and how to mend it: no traceback, no hang, no file
half-written, no input changed, and the checkpoint of an earlier run still whole. Exit status 1 if one does not.

Everything is imported once; each case is a fork of that process, in a folder and a process group of its own.
"""

import argparse
import copy
import faulthandler
import hashlib
import importlib
import json
import os
import random
import re
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from mutations import MUTATIONS, Case
from rich.console import Console
from rich.progress import track
from rich.table import Table

# The first import: OpenMMLab must find the shims in place.
import effvit_mm  # noqa: F401  # isort: split
from effvit_mm.backbones import create_backbone, create_classifier
from effvit_mm.checkpoint import load_safely
from effvit_mm.datasets.toy_export import ensure_toy_scenes
from effvit_mm.engine.launch import evaluate, train
from effvit_mm.engine.run import load_config
from effvit_mm.errors import MendableError

ROOT = Path(__file__).parents[1]
REFUSED, CRASHED = 1, 70
REMEDY = re.compile(
    r"\b(set|give|name|choose|fetch|write|copy|convert|did you mean|known|expected|use|add|take|make|remove|download|"
    r"correct|leave|allowed|needs?|comes from|rename|lie under|must|unpack)\b",
    re.IGNORECASE,
)
WIDTH, SIZE = 16, (64, 96)
OPTIONS = {
    "model.backbone": dict(
        type="AnchorFormer",
        variant="t",
        channels=(8, 12, 20, 24),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 5, 4),
        mlp_ratios=(2, 2, 2, 2),
        num_anchors=7,
        _delete_=True,
    ),
    "model.neck.in_channels": [8, 12, 20, 24],
    "model.neck.out_channels": WIDTH,
    "model.rpn_head.in_channels": WIDTH,
    "model.rpn_head.feat_channels": WIDTH,
    "model.roi_head.bbox_roi_extractor.out_channels": WIDTH,
    "model.roi_head.bbox_head.in_channels": WIDTH,
    "model.roi_head.bbox_head.fc_out_channels": 32,
    "model.roi_head.mask_roi_extractor.out_channels": WIDTH,
    "model.roi_head.mask_head.in_channels": WIDTH,
    "model.roi_head.mask_head.conv_out_channels": WIDTH,
    "model.test_cfg.rcnn.max_per_img": 10,
    "train_cfg.max_epochs": 1,
    "train_cfg.val_interval": 1,
    **{f"{split}_dataloader.batch_size": 2 for split in ("train", "val", "test")},
    **{f"{split}_dataloader.num_workers": 0 for split in ("train", "val", "test")},
    **{f"{split}_dataloader.persistent_workers": False for split in ("train", "val", "test")},
    **{f"{split}_dataloader.dataset.pipeline.1.scale": SIZE[::-1] for split in ("val", "test")},
}


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    name: str
    seed: int
    state: str
    seconds: float
    fault: str = ""
    output: str = ""


def plain(value):
    """A config as plain dicts and lists, without what MMEngine adds while reading."""
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items() if key != "_scope_"}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def make_base(folder):
    """Write what every case starts from: a data set, a config, and the checkpoint of a run of it."""
    scenes = ensure_toy_scenes(folder / "scenes", num_train=4, num_val=2, size=SIZE, num_workers=1)
    leaf = ROOT / "configs/coco/maskrcnn_anchorformer.py"
    cfg = load_config(leaf, overlays=ROOT / "configs/_base_/toy", data_root=Path("data"))
    cfg.merge_from_dict(OPTIONS)
    config = plain(cfg._cfg_dict.to_dict())
    unused = ("toy_scenes", "train_pipeline", "test_pipeline", "dataset", "data_root", "work_dir", "metainfo", "width")
    for name in unused:
        config.pop(name)
    base = folder / "base"
    shutil.copytree(scenes / "coco", base / "data")
    case = Case(base, config, random.Random(0), "train")
    write_config(case)
    status, seconds = wait(start(case, base / "base.log", 300), 300)
    if status != 0:
        raise SystemExit(f"the undamaged run failed:\n{(base / 'base.log').read_text()}")
    for path in (base / "run").iterdir():
        if path.name != "epoch_1.pth":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (base / "base.log").unlink()
    return base, config, seconds


def start(case, log, patience):
    """Run the tool of a case in a process of its own; its output goes to ``log``, and where it is, before it hangs."""
    process = os.fork()
    if process:
        return process
    status = CRASHED
    try:
        os.setsid()
        os.chdir(case.folder)
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        faulthandler.dump_traceback_later(0.9 * patience, exit=False)
        status = run(case)
    except BaseException:  # whatever it is, it is what the campaign looks for
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(case):
    """Do what ``tools/train.py``, ``tools/test.py`` or ``tools/convert.py`` does; returns the exit status."""
    if case.tool == "convert":
        return convert(**case.arguments)
    arguments = dict(case.arguments)
    config_file = arguments.pop("config_file", case.config_file)
    checkpoint = arguments.pop("checkpoint", case.checkpoint)
    resume = arguments.pop("resume", False)
    try:
        if case.tool == "train":
            train(config_file, **{"work_dir": case.folder / "run", **arguments}, resume=resume)
        else:
            evaluate(config_file, checkpoint, **arguments)
    except MendableError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    return 0


def convert(source, destination, to, task, *, overwrite, limit=None):
    """Run ``tools/convert.py``, which can write files of ``limit`` bytes; returns the exit status."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["convert.py", str(source), str(destination), f"--to={to}", f"--task={task}"]
    sys.argv += ["--overwrite"] if overwrite else []
    try:
        runpy.run_path(str(ROOT / "tools/convert.py"), run_name="__main__")
    except SystemExit as end:
        print(f"error: {end}", file=sys.stderr)
        return REFUSED
    return 0


def write_config(case):
    """Write a config as the plain text that a user would."""
    lines = (f"{name} = {value!r}" for name, value in case.config.items())
    constants = "nan, inf = float('nan'), float('inf')\n"
    case.config_file.write_text((constants if re.search(r"\b(nan|inf)\b", str(case.config)) else "") + "\n".join(lines))


def wait(process, seconds):
    """Wait for a process, kill its group after ``seconds``; returns its exit status, None if killed, and its time."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), time.monotonic() - begin
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None, seconds


def prepare(name, seed, base, config, folder):
    """Copy the base into a folder and damage it."""
    rng = random.Random(f"{name} {seed}")
    shutil.copytree(base, folder)
    case = Case(folder, copy.deepcopy(config), rng, rng.choice(("train", "train", "test")))
    write_config(case)
    MUTATIONS[name].apply(case)
    text = case.arguments.pop("text", None)
    if text is None:
        write_config(case)
    else:
        case.config_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return case


def fingerprints(folder):
    """The content of every input: all files but those of the run."""
    return {
        path: hashlib.sha1(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".log" and "run" not in path.relative_to(folder).parts
    }


def is_whole(checkpoint):
    try:
        load_safely(checkpoint)
    except (MendableError, FileNotFoundError):
        return False
    return True


def find_conversion_fault(case, before, after, status):
    """What is wrong with what a conversion left, or an empty string: weights that load whole, or nothing new."""
    destination = case.arguments["destination"]
    written = {path for path in after if after[path] != before.get(path)}
    if status:
        return f"refused, and wrote {sorted(written)}" if written else ""
    note = destination.with_suffix(".json")
    if not {destination} <= written <= {destination, note}:
        return f"wrote {sorted(written)}"
    create = create_classifier if case.arguments["task"] == "classifier" else create_backbone
    overrides = json.loads(note.read_text())["overrides"] if note.exists() else {}
    weights = load_safely(destination)
    with torch.device("meta"):
        network = create(case.arguments["to"], **overrides)
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        return f"what it wrote does not load: {error}"
    odd = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    return f"it wrote values that are not finite: {odd[:3]}" if odd else ""


def find_fault(case, expected, status, output):
    """What is wrong with how a case ended, or an empty string."""
    if status is None:
        # The last frame of the dump, which lists the innermost first.
        return "hung" + "".join(re.findall(r"most recent call first\):\n(.*)", output)[-1:])
    if status not in (0, REFUSED) or "Traceback (most recent call last)" in output:
        return f"crashed: {(output.strip().splitlines() or ['without a word'])[-1]}"
    if status == 0:
        return "worked, but should have been refused" if expected == "refuse" else ""
    message = re.split(r"^(?=error: )", output, flags=re.MULTILINE)[-1]
    if expected == "work":
        return f"refused, though legal: {message}"
    if not any(name in message for name in case.names):
        return f"the message names none of {case.names}: {message}"
    if not REMEDY.search(message):
        return f"the message names no remedy: {message}"
    return "the message is a wall of text" if len(message) > 3000 else ""


def run_case(name, seed, base, config, folder, seconds):
    """Prepare, run and judge one case."""
    case = prepare(name, seed, base, config, folder)
    before, was_whole = fingerprints(folder), is_whole(case.checkpoint)
    log = folder / "case.log"
    status, took = wait(start(case, log, seconds), seconds)
    output = log.read_text(errors="replace")
    fault = find_fault(case, MUTATIONS[name].expected, status, output)
    after = fingerprints(folder)
    if not fault and case.tool == "convert":
        fault = find_conversion_fault(case, before, after, status)
    elif not fault and any(after.get(path) != content for path, content in before.items()):
        fault = "an input file was changed"
    if not fault and was_whole and not is_whole(case.checkpoint):
        fault = "the checkpoint of the run before is lost"
    partial = [path.name for path in folder.rglob("*") if path.name.endswith(".partial")]
    partial += [path.name for path in (folder / "run").glob("*.pth") if path != case.checkpoint and not is_whole(path)]
    if not fault and partial:
        fault = f"left half-written: {partial}"
    return Outcome(name, seed, "FAILED" if fault else "refused" if status else "worked", took, fault, output)


def show(outcomes):
    """Print how the cases of each kind ended, and every failure with the command that repeats it."""
    console = Console()
    table = Table("kind", *(("cases", "worked", "refused clearly", "FAILED", "seconds a case")))
    for kind in sorted({MUTATIONS[outcome.name].kind for outcome in outcomes}):
        of_kind = [outcome for outcome in outcomes if MUTATIONS[outcome.name].kind == kind]
        count = Counter(outcome.state for outcome in of_kind)
        mean = sum(outcome.seconds for outcome in of_kind) / len(of_kind)
        figures = (len(of_kind), count["worked"], count["refused"], count["FAILED"])
        table.add_row(kind, *map(str, figures), f"{mean:.1f}")
    console.print(table)
    for outcome in outcomes:
        if outcome.fault:
            command = f"python tests/mutation_campaign.py --case {outcome.name} --seed {outcome.seed}"
            console.print(f"{command}\n    {outcome.fault}", markup=False, highlight=False, soft_wrap=True)


def planned(args):
    """The names and seeds of the cases to run: every mutation in turn, until there are enough."""
    names = args.case or [name for name, entry in MUTATIONS.items() if entry.kind in (args.kind or entry.kind)]
    count = args.cases or (len(names) if args.case else 300)
    return [(names[i % len(names)], args.seed + i // len(names)) for i in range(count)]


def main():
    """Run the cases and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="how many (default: 300, or once each of --case)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round through the mutations")
    parser.add_argument("--kind", nargs="+", choices=sorted({entry.kind for entry in MUTATIONS.values()}))
    parser.add_argument("--case", nargs="+", choices=sorted(MUTATIONS), metavar="NAME", help="mutations to run")
    parser.add_argument("--timeout", type=float, default=90, help="seconds after which a case counts as hung")
    parser.add_argument("--verbose", action="store_true", help="show what each case printed")
    args = parser.parse_args()
    # Every case would import these; the rest follows with the first run.
    importlib.import_module("mmdet.models")
    importlib.import_module("mmdet.visualization")
    # A fork of a process with threads may wait for ever for one that it does not have.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, config, _ = make_base(folder)
        outcomes = []
        for case, seed in track(planned(args), "cases", disable=not sys.stdout.isatty()):
            outcomes.append(run_case(case, seed, base, config, folder / "case", args.timeout))
            if args.verbose or (args.case and len(args.case) == 1 and not args.cases):
                print(outcomes[-1].output)
            shutil.rmtree(folder / "case")
    show(outcomes)
    sys.exit(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    main()
