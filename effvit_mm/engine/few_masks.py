"""A segmenter put to a few pictures of its training data, learnt by heart."""

from pathlib import Path

from mmengine.config import Config

from effvit_mm.engine.data_check import leaves_of
from effvit_mm.engine.segmentation_check import build_dataset
from effvit_mm.errors import BadInputError

# What says which files belong to a data set and how they are read; the pipeline stays each split's own.
SHARED = (
    *("type", "data_root", "data_prefix", "img_suffix", "seg_map_suffix"),
    *("metainfo", "reduce_zero_label", "ignore_index"),
)


def keep_few_masks(cfg: Config, num_pictures: int) -> None:
    """Train and validate a config on the first pictures of its training data, whose files were checked.

    Args:
        cfg: The config, changed in place; its work dir is set, and the names are written into it.
        num_pictures: How many.

    Raises:
        BadInputError: If there are fewer.
    """
    # Imported here, as it brings mmseg.
    from effvit_mm.datasets.index_mask_folder import pairs_of

    train = cfg.train_dataloader.dataset
    stems = list(pairs_of(build_dataset("train", train, cfg.default_scope)))
    if not 1 <= num_pictures <= len(stems):
        raise BadInputError(f"--overfit {num_pictures}: give a number from 1 to {len(stems)}, the pictures with masks")
    file = Path(cfg.work_dir, "few_pictures.txt").absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{stem}\n" for stem in stems[:num_pictures]), encoding="utf-8")
    train.ann_file = str(file)
    for split in ("val", "test"):
        if not cfg.get(f"{split}_dataloader"):
            continue
        loader = cfg[f"{split}_dataloader"]
        dataset = loader.dataset = next(leaves_of(loader.dataset, f"{split}_dataloader.dataset"))
        for key in SHARED:
            dataset.pop(key, None)
        dataset.update({key: train[key] for key in SHARED if key in train}, ann_file=str(file))
