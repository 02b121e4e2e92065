# 300 epochs on ImageNet as DeiT and Swin: AdamW, 20 epochs of warm-up, cosine to 1e-5, gradients clipped at 5.
# lr is for 1024 pictures a step; norms, biases and their tables, anchors, temperatures, positions and prefix tokens do
# not decay. The cosine ends at 0.01 of each group's own rate, so that layer-wise rates keep their ratios.
_base_ = "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py"

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "anchors": dict(decay_mult=0.0),
            "temperature": dict(decay_mult=0.0),
            "bias_table": dict(decay_mult=0.0),
            "positions.table": dict(decay_mult=0.0),
            "prefix.tokens": dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=True, begin=20),
]
