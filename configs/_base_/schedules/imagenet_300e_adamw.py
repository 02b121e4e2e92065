# 300 epochs on ImageNet as DeiT and Swin: AdamW, 20 epochs of warm-up, cosine to 1e-5, gradients clipped at 5.
# lr is for 1024 pictures a step; norms, biases and their tables, anchors, temperatures do not decay.
_base_ = "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py"

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "anchors": dict(decay_mult=0.0),
            "temperature": dict(decay_mult=0.0),
            "bias_table": dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=5.0),
)
