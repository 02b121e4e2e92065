"""The cells of ``task_matrix.py``: tasks, backbones, and the config that joins one of each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

import effvit_mm  # noqa: F401  (stock bases of the maintained distributions are found with it)

ROOT = Path(__file__).resolve().parents[2]
ALL = (0, 1, 2, 3)


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
        metrics: Names in ``metrics.json``.
        label: Names in the table.
        factor: From the ones to the others.
        arguments: Of ``tools/train.py``.
        real: Whether it wants a folder of real data, ``--data NAME=FOLDER``.
        config: What its config says beside the backbone.
    """

    leaf: str
    metrics: tuple[str, ...]
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
    "maskrcnn": Task("coco/maskrcnn_pyramid.py", ("coco/segm_mAP_50",), "Mask R-CNN, mask AP50", 100),
    "retinanet": Task("coco/retinanet_pyramid.py", ("coco/bbox_mAP_50",), "RetinaNet, box AP50", 100),
    "upernet": Task("ade20k/upernet_pyramid.py", ("mIoU",), "UPerNet, mIoU"),
    "semfpn": Task("ade20k/semfpn_pyramid.py", ("mIoU",), "Semantic FPN, mIoU"),
    "depth": Task("nyu/depth_pyramid.py", ("depth/rmse", "depth/delta1"), "depth, RMSE in m / delta1"),
    "cls": Task("imagenet/cls_pyramid.py", ("accuracy/top1",), "top-1 of 3 classes"),
    "camvid": Task(
        "camvid/semfpn_anchorformer.py", ("mIoU",), "CamVid, mIoU", arguments=(), real=True, config=cycle(1e-3, 450)
    ),
    "nyu": Task(
        "nyu/depth_pyramid.py",
        ("depth/rmse", "depth/delta1"),
        "NYU subset, RMSE in m / delta1",
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
        ("coco/segm_mAP_50",),
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
