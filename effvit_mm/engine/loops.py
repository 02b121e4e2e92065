"""MMEngine's two training loops, made to continue a killed run exactly.

Differences from the stock loops: every iteration and validation is seeded from its number; a resumed run first repeats
the validation that follows its checkpoint (the checkpoint is written before it, so it may never have ended); and an
iteration loop finds its place in the data without loading what lies behind it.
"""

from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_rank
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn

from effvit_mm.engine.batches_hook import no_batch
from effvit_mm.engine.seeding import seed_iteration, set_epoch, start_at


class _ExactLoop:
    """What both loops share; mixed in before MMEngine's class."""

    def run_iter(self, *args: Any) -> None:
        """Seed the process, then run one iteration."""
        self._seed()
        super().run_iter(*args)

    def _seed(self) -> None:
        seed_iteration(self.runner.seed, get_rank(), self._iter)

    def _validate_if_due(self, done: int, last: int) -> None:
        """Validate where the stock loop would after ``done`` of ``last`` epochs or iterations."""
        self._decide_current_val_interval()
        if self.runner.val_loop is None or done < self.val_begin:
            return
        if done % self.val_interval == 0 or done == last:
            self._seed()
            start_at(self.runner.val_loop.dataloader, self._iter)
            self.runner.val_loop.run()


class ExactEpochLoop(_ExactLoop, EpochBasedTrainLoop):
    """Training by epochs; takes the arguments of ``EpochBasedTrainLoop``."""

    def run(self) -> nn.Module:
        """Train, from wherever the run stands."""
        self.runner.call_hook("before_train")
        if self._epoch > 0:
            self._validate_if_due(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            start_at(self.dataloader, self._iter)
            self.run_epoch()
            self._validate_if_due(self._epoch, self._max_epochs)
        self.runner.call_hook("after_train")
        return self.runner.model


class ExactIterLoop(_ExactLoop, IterBasedTrainLoop):
    """Training by iterations; takes the arguments of ``IterBasedTrainLoop``."""

    def run(self) -> nn.Module:
        """Train, from wherever the run stands."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        if self._iter > 0:
            self._validate_if_due(self._iter, self._max_iters)
        batches = self._batches_from(self._iter)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate_if_due(self._iter, self._max_iters)
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _batches_from(self, iteration: int) -> Iterator[Any]:
        """Yield the batches of the stream, pass after pass over the data, from an iteration on."""
        start_at(self.dataloader, iteration, num_to_skip=iteration)
        data_pass = 0
        while True:
            given = 0
            for batch in self.dataloader:
                given += 1
                yield batch
            to_skip = getattr(self.dataloader.batch_sampler, "num_to_skip", 0)
            if not given and not to_skip:
                raise no_batch(self.dataloader, "train")
            iteration += given
            data_pass += 1
            set_epoch(self.dataloader, data_pass)
            start_at(self.dataloader, iteration, num_to_skip=to_skip)
