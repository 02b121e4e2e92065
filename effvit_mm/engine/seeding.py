"""Random numbers that depend on where a run is, and on nothing before it.

A run that was killed and resumed must draw what the uninterrupted run would have drawn. Saving the state of every
generator in every process is fragile; here nothing is saved. Before each iteration the main process is seeded from
(seed, rank, iteration), and before each sample its loader is seeded from (seed, rank, iteration, place in the batch),
in whichever worker it is loaded.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from effvit_mm.engine.explain_sample import EXPLAINED, explain_sample
from effvit_mm.errors import BadInputError

# The streams of the main process and of the samples must not meet.
_MAIN, _SAMPLE = 0, 1


def seed_iteration(seed: int, rank: int, iteration: int) -> None:
    """Seed Python, numpy and torch (all devices) of this process for an iteration."""
    _seed_all(seed, _MAIN, rank, iteration)


def _seed_all(*entropy: int) -> None:
    words = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])  # noqa: NPY002  (the generator that augmentations of OpenMMLab draw from)
    torch.manual_seed(int(words[2]))


class PlacedIndex(int):
    """The index of a sample, and the seed words of its place in the run."""

    place: tuple[int, ...]

    def __new__(cls, index: int, place: tuple[int, ...]) -> "PlacedIndex":
        """Make the index; to everything that expects an int it is one."""
        placed = super().__new__(cls, index)
        placed.place = place
        return placed

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a worker with the place."""
        return type(self), (int(self), self.place)


class PlacedBatches(Sampler[list[int]]):
    """A batch sampler whose indices know their place; it can begin at any iteration without loading a sample.

    Args:
        batches: The batch sampler of the data loader.
        seed: The seed of the run.
        rank: The rank of this process.
    """

    def __init__(self, batches: Any, *, seed: int, rank: int) -> None:
        self.batches = batches
        self.seed = seed
        self.rank = rank
        self.iteration = 0
        self.num_to_skip = 0

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches of placed indices from ``iteration`` on, without the first ``num_to_skip`` of the stream."""
        iteration = self.iteration
        for batch in self.batches:
            if self.num_to_skip > 0:
                self.num_to_skip -= 1
                continue
            yield [PlacedIndex(index, (self.seed, self.rank, iteration, i)) for i, index in enumerate(batch)]
            iteration += 1

    def __len__(self) -> int:
        """Return how many batches the wrapped sampler has."""
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        """Give everything else (``sampler``, ``batch_size``, ...) from the wrapped batch sampler."""
        if name.startswith("__") or name == "batches":
            raise AttributeError(name)
        return getattr(self.batches, name)


class SeededDataset:
    """A data set that loads each sample under the seed of its place; all else is the wrapped data set's.

    Where a sample cannot be loaded, the image or the step of the pipeline is named here, in whichever worker it is.

    Args:
        dataset: The data set.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset_of_samples = dataset

    def __getitem__(self, index: int) -> Any:
        """Load a sample.

        Raises:
            BadInputError: If its image, or a step of the pipeline, cannot be used.
        """
        if isinstance(index, PlacedIndex):
            seed, *place = index.place
            _seed_all(seed, _SAMPLE, *place)
        try:
            return self.dataset_of_samples[int(index)]
        except EXPLAINED as error:
            message = explain_sample(error)
            if message is None:
                raise
            raise BadInputError(message) from error

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset_of_samples)

    def __getattr__(self, name: str) -> Any:
        """Give everything else from the wrapped data set."""
        # `__getitems__` would load a whole batch past us, and unpickling asks for names before there is a data set.
        if name.startswith("__") or name == "dataset_of_samples":
            raise AttributeError(name)
        return getattr(self.dataset_of_samples, name)


def place_samples(loader: DataLoader, *, seed: int, rank: int) -> DataLoader:
    """Make a data loader load every sample under the seed of its place in the run.

    Args:
        loader: A loader that has not been iterated yet; changed in place.
        seed: The seed of the run.
        rank: The rank of this process.

    Returns:
        The same loader.
    """
    if isinstance(loader.batch_sampler, PlacedBatches | None):
        return loader  # placed already, or without batches
    # A DataLoader refuses new samplers once it is made, but its own attributes (batch_size, ...) must stay.
    vars(loader).update(
        dataset=SeededDataset(loader.dataset),
        batch_sampler=PlacedBatches(loader.batch_sampler, seed=seed, rank=rank),
    )
    # Starting workers draws a number; from the process's generator it would shift everything that is drawn after it,
    # and a resumed run starts its workers at another moment.
    loader.generator = torch.Generator().manual_seed(seed)
    return loader


def start_at(loader: DataLoader, iteration: int, *, num_to_skip: int = 0) -> None:
    """Tell a placed loader at which iteration its next pass begins, and how many batches lie behind it."""
    if isinstance(loader.batch_sampler, PlacedBatches):
        loader.batch_sampler.iteration = iteration
        loader.batch_sampler.num_to_skip = num_to_skip


def set_epoch(loader: DataLoader, epoch: int) -> None:
    """Tell the sampler of a loader which pass over the data comes next, if it wants to know."""
    samplers: Sequence[Any] = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
    for sampler in samplers:
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
            return
