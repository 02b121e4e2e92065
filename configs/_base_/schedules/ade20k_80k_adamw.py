# 80k iterations as PVT and LIT trained Semantic FPN: AdamW, the same decay for every parameter, no warm-up.
# lr is for 16 pictures a step.
_base_ = "mmseg::_base_/schedules/schedule_80k.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, weight_decay=1e-4),
)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-6, begin=0, end=80000, by_epoch=False)]
auto_scale_lr = dict(enable=False, base_batch_size=16)
# The stock hooks without the one that draws: it is off, and warns of that in every run. The report draws.
default_hooks = dict(
    _delete_=True,
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=8000, max_keep_ckpts=3, save_best="mIoU"),
)
