"""RetinaNet with ToSA-DeiT-S on COCO, 1x, half the tokens in every second layer.

    python tools/train.py configs/coco/retinanet_tosa.py --auto-scale-lr  # COCO 2017 under data/coco
    python tools/train.py configs/coco/retinanet_tosa.py --toy # small rendered rooms, minutes on two cores

One run trains in stages: dense, then with a share that falls to `keep`, selectors learning from the start. One run for
each stage (dense, selectors alone, joint under a dense teacher): three commands, docs/tosa.md. DeiT's weights:
tools/convert.py, init_cfg. After an evaluation, kept_tokens.png in the work dir shows what was kept.
Mirrors: no table of the ToSA paper (arXiv 2406.08816), which has no detector; recipe: retinanet_anchorformer.py's.
Expected AP: not trained here. Cost: 311 G multiply-adds at 800x1280, backbone 159.5 (analytic).
"""

_base_ = [
    "../_base_/models/retinanet.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x_adamw.py",
    "../_base_/runtime.py",
]

# RetinaNet starts at stride 8: the level of stride 4 is not emitted.
# Pre-trained: backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work_dirs/cls_tosa/epoch_300.pth")).
# Fresh: the pyramid. DeiT's released, by tools/convert.py: "weights/tosa_deit_s_backbone.pth".
model = dict(
    backbone=dict(type="ToSADeiT", variant="s", keep=0.5, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[192, 384, 384], start_level=0),
)
# Selectors learn beside the task; the share falls from 1 to `keep` over the first half of the run.
custom_hooks = [
    dict(type="RunReportHook"),
    dict(type="SelectorLossHook"),
    dict(type="KeepAnnealingHook"),
    dict(type="KeptTokensHook"),
]
optim_wrapper = dict(optimizer=dict(lr=1e-4))
