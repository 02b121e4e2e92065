"""Stop a run whose loader gives no batch: it would learn or measure nothing, and end as if it had."""

from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from effvit_mm.errors import BadInputError


class BatchesHook(Hook):
    """Looks behind each pass whether there was a batch.

    A batch sampler that sorts images by their shape may have some by its count and give none.
    """

    # Before the checkpoint of an epoch that did nothing.
    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.num_batches = 0

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        self.num_batches = 0

    def _after_iter(self, runner: Runner, *args: Any, mode: str = "train", **kwargs: Any) -> None:
        self.num_batches += 1

    def after_train_epoch(self, runner: Runner) -> None:
        """Raise where an epoch had no batch; an iteration loop asks its stream itself."""
        if not self.num_batches and not isinstance(runner.train_loop, IterBasedTrainLoop):
            raise no_batch(runner.train_dataloader, "train")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Raise where a validation had no batch."""
        if not self.num_batches:
            raise no_batch(runner.val_dataloader, "val")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Raise where a test had no batch."""
        if not self.num_batches:
            raise no_batch(runner.test_dataloader, "test")


def no_batch(loader: DataLoader, split: str) -> BadInputError:
    """Return the error for a loader without a batch.

    Args:
        loader: The loader.
        split: ``'train'``, ``'val'`` or ``'test'``.
    """
    size = getattr(loader, "batch_size", None) or getattr(loader.batch_sampler, "batch_size", None)
    batches = f"batches of {size} " if size else ""
    drop_last = getattr(loader.batch_sampler, "drop_last", None)
    return BadInputError(
        f"{split}_dataloader gives no batch: its data set has {len(loader.dataset)} samples, for {batches}with "
        f"drop_last={drop_last}; lower {split}_dataloader.batch_size or set {split}_dataloader.drop_last=False"
    )


def require_batches(loader: DataLoader, split: str) -> None:
    """Check that a loader gives a batch, as far as it knows its length.

    Args:
        loader: The loader.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        BadInputError: If it gives none.
    """
    if isinstance(loader.sampler, InfiniteSampler):
        return  # batches go on over the end of the data
    try:
        num_batches = len(loader)
    except TypeError:
        return  # a stream that does not know its length
    if not num_batches:
        raise no_batch(loader, split)
