"""A small model of each task as a run on toy scenes would leave it, untrained: a config and its checkpoint."""

import warnings

import torch
from cases import ROOT
from mmengine.registry import DATASETS, MODELS, DefaultScope

from effvit_mm.engine.run import load_config

CHANNELS = [32, 64, 160, 256]
CONFIGS = {
    "detection": ("coco/maskrcnn_anchorformer.py", {"model.neck.in_channels": CHANNELS}),
    "segmentation": ("ade20k/semfpn_anchorformer.py", {"model.neck.in_channels": CHANNELS}),
    "depth": ("nyu/depth_anchorformer.py", {"model.decode_head.in_channels": CHANNELS}),
    "classification": ("imagenet/cls_anchorformer.py", {"model.head.in_channels": CHANNELS[-1]}),
}
# Objects of every class are among them.
FEW_SCENES = {"toy_scenes.num_train": 5, "toy_scenes.num_val": 4}


def write_model(folder, task):
    """Write config and checkpoint of a task into a folder; the scenes are not rendered. Returns their paths."""
    leaf, options = CONFIGS[task]
    options = {**options, **FEW_SCENES, "model.backbone.variant": "t"}
    cfg = load_config(ROOT / "configs" / leaf, overlays=ROOT / "configs/_base_/toy", options=options, splits=())
    # Drawing and reporting are a run's; a loader of the process itself starts at once.
    cfg.custom_hooks = []
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    folder.mkdir(parents=True, exist_ok=True)
    config, checkpoint = folder / leaf.split("/")[1], folder / "epoch_1.pth"
    cfg.dump(config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), warnings.catch_warnings():
        # Said by mmseg's losses, whatever they are given.
        warnings.filterwarnings("ignore", message="Default ``avg_non_ignore`` is False")
        model = MODELS.build(cfg.model)
        meta = DATASETS.build({**cfg.test_dataloader.dataset, "lazy_init": True}).metainfo
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, checkpoint)
    return config, checkpoint
