# A small segmenter from scratch on two CPU cores: 900 iterations, one cycle of the learning rate, gradients clipped.
_base_ = "mmseg::_base_/schedules/schedule_20k.py"

max_iters = 900
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type="PerGroupOneCycleLR", eta_max=1e-3, total_steps=max_iters, by_epoch=False)]
# The stock hooks without the one that draws: it is off, and warns of that in every run. The report draws.
default_hooks = dict(
    _delete_=True,
    logger=dict(type="LoggerHook", interval=30, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=300, max_keep_ckpts=2, save_best="mIoU"),
)
