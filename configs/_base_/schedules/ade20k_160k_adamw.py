# 160k iterations as Swin trained UPerNet: AdamW, warm-up of 1500 iterations, then linear decay to 0.
# lr is for 16 pictures a step; norms, anchors, temperatures, tables of biases and of positions, and prefix tokens do
# not decay.
_base_ = "mmseg::_base_/schedules/schedule_160k.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            "norm": dict(decay_mult=0.0),
            "anchors": dict(decay_mult=0.0),
            "temperature": dict(decay_mult=0.0),
            "bias_table": dict(decay_mult=0.0),
            "positions.table": dict(decay_mult=0.0),
            "prefix.tokens": dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=1500, end=160000, by_epoch=False),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
# The stock hooks without the one that draws: it is off, and warns of that in every run. The report draws.
default_hooks = dict(
    _delete_=True,
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=16000, max_keep_ckpts=3, save_best="mIoU"),
)
