"""Measure how long models take, several of them in turn so that a machine that drifts cancels out."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from effvit_mm.analysis.energy import EnergyMeter
from effvit_mm.analysis.subjects import Subject, pictures
from effvit_mm.errors import BadInputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Setting:
    """Under which conditions a model runs.

    Attributes:
        shape: Height and width of the pictures, in pixels.
        batch: Pictures a call.
        dtype: A key of :data:`DTYPES`; the lower ones run under autocast, as they are trained.
        device: ``'cpu'`` or ``'cuda'``.
        train: A training step (forward, backward, AdamW) and not a forward pass in evaluation.
        compiled: Whether ``torch.compile`` comes first.
        warmup: Calls that are not measured.
        repeats: Calls that are.
    """

    shape: tuple[int, int] = (224, 224)
    batch: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    train: bool = False
    compiled: bool = False
    warmup: int = 3
    repeats: int = 10

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BadInputError(f"dtype {self.dtype!r} must be one of {', '.join(DTYPES)}")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise BadInputError(f"device {self.device!r}: torch sees no CUDA device here; use --device cpu")
        least = {"batch": 1, "repeats": 1, "shape": 1, "warmup": 0}
        given = {"batch": self.batch, "repeats": self.repeats, "shape": min(self.shape), "warmup": self.warmup}
        for name, value in given.items():
            if value < least[name]:
                raise BadInputError(f"{name}={getattr(self, name)} must be at least {least[name]}")


def use_threads(threads: int | None) -> None:
    """Have torch run on so many threads; None for its own number.

    Raises:
        BadInputError: If there is none.
    """
    if threads is None:
        return
    if threads < 1:
        raise BadInputError(f"--threads {threads} must be at least 1")
    torch.set_num_threads(threads)


def make_step(subject: Subject, setting: Setting) -> Callable[[], None]:
    """Return a function that runs one forward pass, or one training step, and waits for the device.

    Args:
        subject: The model.
        setting: The conditions.

    Returns:
        The function; a training step's loss is the mean square of everything the model returns.
    """
    module = subject.module.to(setting.device)
    module.train(setting.train)
    inputs = pictures(setting.shape, setting.batch, device=setting.device)
    run: Callable[..., Any] = torch.compile(module) if setting.compiled else module
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5) if setting.train else None

    def step() -> None:
        with torch.set_grad_enabled(setting.train):
            with _precision(setting):
                outputs = run(inputs, **subject.call)
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
                mean_square(outputs).backward()
                optimizer.step()
        if setting.device.startswith("cuda"):
            torch.cuda.synchronize(setting.device)

    return step


def measure(
    steps: Mapping[str, Callable[[], None]],
    setting: Setting,
    *,
    rounds: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, list[float]]:
    """Time several steps in turn, each round in another order.

    Args:
        steps: What to time, by name.
        setting: How many calls to leave out and to measure.
        rounds: Wraps the rounds, for a progress bar.

    Returns:
        Seconds of each measured call, by name.
    """
    names = list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for i in rounds(range(setting.warmup + setting.repeats)):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.perf_counter()
            steps[name]()
            if i >= setting.warmup:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def joules_per_picture(step: Callable[[], None], setting: Setting) -> tuple[float | None, str]:
    """Measure the energy of an NVIDIA GPU over a picture.

    Args:
        step: One call.
        setting: The conditions; at least a second of calls is run.

    Returns:
        Joules and ``''``, or None and the reason why there is no figure.
    """
    meter = EnergyMeter(setting.device)
    if meter.missing:
        return None, meter.missing
    start, before, calls = time.perf_counter(), meter.joules(), 0
    while calls < setting.repeats or time.perf_counter() - start < 1:
        step()
        calls += 1
    return (meter.joules() - before) / (calls * setting.batch), ""


def summarize(seconds: Sequence[float], batch: int) -> dict[str, float]:
    """Return median and quartiles in milliseconds, and pictures a second, of the calls of one model."""
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else list(seconds) * 3
    median = statistics.median(seconds)
    return {
        "median_ms": 1e3 * median,
        "lower_quartile_ms": 1e3 * quartiles[0],
        "upper_quartile_ms": 1e3 * quartiles[2],
        "pictures_per_second": batch / median,
    }


def mean_square(outputs: Any) -> Tensor:
    """Return a loss that every map takes part in: the mean square of each floating-point tensor, summed."""
    maps = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
    if not maps:
        raise BadInputError("the model returns nothing that depends on its weights, so there is no training step")
    return torch.stack([fmap.float().square().mean() for fmap in maps]).sum()


def _precision(setting: Setting) -> AbstractContextManager[Any]:
    if setting.dtype == "float32":
        return nullcontext()
    return torch.autocast(torch.device(setting.device).type, dtype=DTYPES[setting.dtype])
