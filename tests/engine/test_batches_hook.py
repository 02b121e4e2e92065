"""A run that has nothing to learn from, or nothing to measure, is refused and leaves no checkpoint."""

from itertools import count

import kill_run
import pytest
from kill_run import NUM_SAMPLES
from mmengine.registry import DATA_SAMPLERS, METRICS

from effvit_mm.engine.runner import ExactRunner
from effvit_mm.errors import BadInputError


@DATA_SAMPLERS.register_module()
class SilentBatches:
    """Batches by a count alone, as of images that are sorted by their shape."""

    def __init__(self, sampler, batch_size, drop_last=True):
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __len__(self):
        return 2

    def __iter__(self):
        return iter(())


@METRICS.register_module()
class HardyMean(kill_run.MeanOutput):
    """A metric that gives a figure for nothing."""

    def compute_metrics(self, results):
        return super().compute_metrics(results) if results else dict(mean=0.0)


NAMES = count()


def config(work_dir, loop):
    cfg = kill_run.config(work_dir, loop, 0)
    # MMEngine names runs by the second in which they begin.
    cfg.experiment_name = f"batches_{next(NAMES)}"
    cfg.val_evaluator = dict(type="HardyMean")
    return cfg


@pytest.mark.parametrize("loop", ["epoch", "iter"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("silent", [False, True], ids=["drop_last", "batch_sampler"])
def test_a_loader_that_gives_no_batch_is_refused_with_its_numbers(tmp_path, loop, split, silent):
    cfg = config(tmp_path, loop)
    if split == "test":
        cfg.merge_from_dict(dict(test_dataloader=cfg.val_dataloader, test_evaluator=cfg.val_evaluator, test_cfg={}))
    loader = cfg[f"{split}_dataloader"]
    loader.update(batch_size=NUM_SAMPLES + 1, drop_last=not silent, sampler=dict(type="DefaultSampler", shuffle=False))
    if silent:
        loader.batch_sampler = dict(type="SilentBatches")
    runner = ExactRunner.from_cfg(cfg)
    message = rf"{split}_dataloader gives no batch: .* has {NUM_SAMPLES} samples, for batches of {NUM_SAMPLES + 1} "
    with pytest.raises(BadInputError, match=message):
        (runner.test if split == "test" else runner.train)()
    if split == "train" or not silent:
        assert not list(tmp_path.glob("*.pth"))


def test_batches_that_go_on_over_the_end_of_the_data_are_batches(tmp_path):
    cfg = config(tmp_path, "iter")
    cfg.train_dataloader.update(batch_size=NUM_SAMPLES + 1, drop_last=True)
    cfg.train_cfg.max_iters = 2
    ExactRunner.from_cfg(cfg).train()
    assert (tmp_path / "iter_2.pth").is_file()
