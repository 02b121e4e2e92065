"""How well token mixers learn on two small tasks, at the same depth, width and recipe.

    python tests/benchmarks/mixer_learning.py --task cifar --cifar cifar10.zip --out work_dirs/mixer_learning
    python tests/benchmarks/mixer_learning.py --task toy --mixers apart agent '{"type": "window"}' --seeds 0 1
    python tests/benchmarks/mixer_learning.py --task cifar --time 15 --cifar cifar10.zip  # time of a step, in turn
    python tests/benchmarks/mixer_learning.py --out work_dirs/mixer_learning --plot docs/pictures/anchors.png

Every run appends a row to OUT/rows.jsonl; runs that have one are skipped, so a call can be repeated, and several can
share a folder. A mixer is a name of ``compared_mixers.VARIANTS``, a registered mixer, or a dict of ``type`` and
options as JSON. The tables and the plot are those of all rows, whatever ran just now.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from compared_mixers import VARIANTS, ApartAnchors, Variant
from learning_report import draw, table_of
from learning_tasks import IGNORED, Cifar, CifarMix, Task, ToyScenes
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from effvit_mm.analysis import count
from effvit_mm.layers import AnchorAttention

WITHOUT_DECAY = ("anchors", "temperature", "table")

Row = dict[str, Any]


def variant_of(name: str) -> Variant:
    """Find the mixer of a name; a registered one, or a dict as JSON, has no more options than it says."""
    if name in VARIANTS:
        return VARIANTS[name]
    spec = json.loads(name) if name.startswith(("{", "[")) else name
    return Variant(spec, spec)


def built(task: Task, name: str) -> nn.Module:
    """Build the network of a variant; at equal cost, with MLPs of another width."""
    variant = variant_of(name)
    spec = variant.on(task.name)
    if not variant.equal:
        return task.network(spec, 1.0)
    target = macs(task.network(VARIANTS["paper"].on(task.name), 1.0), task)
    whole, half = (macs(task.network(spec, factor), task) for factor in (1.0, 0.5))
    return task.network(spec, 1 + (target - whole) / (2 * (whole - half)))


def macs(network: nn.Module, task: Task) -> int:
    """Multiply-adds for one picture."""
    return count(network, torch.zeros(1, 3, *task.size)).macs


def steps_of(mixer: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """The weights with which anchors gather ``(B, h, M, N)`` and tokens take ``(B, h, N, M)``."""
    if isinstance(mixer, ApartAnchors):
        return mixer.steps(tokens, grid)
    if not isinstance(mixer, AnchorAttention):
        return None
    keys = mixer.key_value(tokens).chunk(2, dim=-1)[0]
    taken = mixer.assign(keys).transpose(1, 2)
    if mixer.gather_anchors is not None:
        logits = mixer.logits(keys, mixer.gather_anchors)
        return logits.softmax(1).permute(0, 2, 3, 1), taken
    return (taken / taken.sum(2, keepdim=True)).transpose(-2, -1), taken


@torch.no_grad()
def exchange(network: nn.Module, task: Task) -> dict[str, list[float]]:
    """How many different averages the tokens get through the anchors of each layer, in the mean over heads, pictures.

    With S the implied matrix: its trace, and the effective rank ``(sum of singular values)^2 / sum of their squares``;
    both are 1 for mean pooling.
    """
    found: dict[str, list[float]] = {"trace": [], "rank": []}

    def note(mixer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Tensor) -> None:
        steps = steps_of(mixer, args[0], args[1])
        if steps is None:
            return
        gather, taken = (step.double() for step in steps)
        found["trace"].append((gather @ taken).diagonal(dim1=-2, dim2=-1).sum(-1).mean().item())
        # S = taken gather has the singular values of the product of their triangular factors, M x M.
        small = torch.linalg.qr(taken).R @ torch.linalg.qr(gather.transpose(-2, -1)).R.transpose(-2, -1)
        values = torch.linalg.svdvals(small)
        found["rank"].append((values.sum(-1) ** 2 / (values**2).sum(-1)).mean().item())

    hooks = [
        module.register_forward_hook(note, with_kwargs=True)
        for module in network.modules()
        if isinstance(module, AnchorAttention | ApartAnchors)
    ]
    network.eval()(task.probe)
    network.train()
    for hook in hooks:
        hook.remove()
    return found


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Weights decay; vectors, anchors and tables do not."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        groups[parameter.ndim > 1 and not name.endswith(WITHOUT_DECAY)].append(parameter)
    return [dict(params=groups[True], weight_decay=0.05), dict(params=groups[False], weight_decay=0.0)]


def learn(task: Task, name: str, seed: int, tick: Callable[[], None]) -> Row:
    """Train and score one network."""
    torch.manual_seed(seed)
    network = built(task, name)
    generator = torch.Generator().manual_seed(seed)
    steps = task.epochs * (len(task.data[0]) // task.batch)
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=task.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, task.lr, total_steps=steps, pct_start=0.2)
    exchanges, losses, seconds = [exchange(network, task)], [], []
    network.train()
    for _ in range(task.epochs):
        total = 0.0
        for pictures, labels in task.batches(generator):
            start = time.process_time()
            loss = F.cross_entropy(network(pictures), labels, ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seconds.append(time.process_time() - start)
            total += loss.item()
            tick()
        losses.append(total * task.epochs / steps)
        exchanges.append(exchange(network, task))
    return {
        "task": task.name,
        "mixer": name,
        "seed": seed,
        "epochs": task.epochs,
        "spec": variant_of(name).on(task.name),
        "score": task.score(network.eval()),
        "metric": task.metric,
        "losses": losses,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs(network, task),
        "processor_seconds_an_iteration": statistics.median(seconds),
        "exchange": exchanges,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def step_times(task: Task, names: list[str], rounds: int) -> dict[str, float]:
    """Processor time of a training step over dense attention's: all in turn in each round; the median over rounds."""
    pictures, labels = next(task.batches(torch.Generator().manual_seed(0)))
    networks = {name: built(task, name).train() for name in names}
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        seconds = {}
        for name, network in networks.items():
            start = time.process_time()
            F.cross_entropy(network(pictures), labels, ignore_index=IGNORED).backward()
            seconds[name] = time.process_time() - start
        for name in names:
            ratios[name].append(seconds[name] / seconds["dense"])
    # The first round warms up.
    return {name: statistics.median(found[1:]) for name, found in ratios.items()}


def rows_in(path: Path) -> list[Row]:
    """The rows written so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(task: Task, names: list[str], seeds: list[int], path: Path) -> None:
    """Run what has no row yet; all mixers on one seed before any on the next."""
    todo = [(name, seed) for seed in seeds for name in names if variant_of(name).on(task.name) is not None]
    with Progress() as progress:
        whole = progress.add_task(f"{task.name}", total=len(todo))
        for name, seed in todo:
            key = (task.name, name, seed, task.epochs)
            if key not in {(row["task"], row["mixer"], row["seed"], row["epochs"]) for row in rows_in(path)}:
                one = progress.add_task(f"{name}, seed {seed}", total=task.epochs * (len(task.data[0]) // task.batch))
                row = learn(task, name, seed, lambda one=one: progress.advance(one))  # type: ignore[misc]
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                progress.remove_task(one)
                progress.console.print(f"{task.name}: {name}, seed {seed}: {row['score']:.1f}")
            progress.advance(whole)


def main() -> None:
    """Run, and show the table and the plot of all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["cifar", "cifar_mix", "toy"], nargs="*", default=[])
    parser.add_argument("--cifar", type=Path, help="archive of train/<class>/*.jpg and test/<class>/*.jpg")
    parser.add_argument("--toy-root", type=Path, help="toy scenes of the default size (default: rendered into OUT)")
    parser.add_argument("--mixers", nargs="+", default=list(VARIANTS), help="(default: all of the comparison)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="(default: the task's)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time", type=int, metavar="ROUNDS", help="measure a step in place of training")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/mixer_learning"))
    parser.add_argument("--plot", type=Path, help="(default: OUT/learning.png)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    tasks: dict[str, Task] = {
        "cifar": Cifar(args.cifar),
        "cifar_mix": CifarMix(args.cifar),
        "toy": ToyScenes(args.toy_root or args.out / "toy_scenes"),
    }
    for name in args.task:
        if args.time:
            known = [mixer for mixer in args.mixers if variant_of(mixer).on(name) is not None]
            times = step_times(tasks[name], list(dict.fromkeys([*known, "dense"])), args.time)
            Console().print({mixer: round(ratio, 2) for mixer, ratio in times.items()})
            continue
        tasks[name].epochs = args.epochs or tasks[name].epochs
        run(tasks[name], args.mixers, args.seeds, args.out / "rows.jsonl")
    rows = rows_in(args.out / "rows.jsonl")
    for name in sorted({row["task"] for row in rows}):
        Console(width=140).print(table_of(rows, name))
    if rows:
        draw(rows, args.plot or args.out / "learning.png")


if __name__ == "__main__":
    main()
