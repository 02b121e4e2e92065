# 25 epochs of 16 pictures a step, AdamW with weight decay 0.1, learning rate up to 3.57e-4 and down again: AdaBins'
# one-cycle policy (arXiv 2011.14141: from 1/25 of the peak in 30 % of the steps, down to 1/2500), its rise linear.
# Gradients are clipped at 35; AdaBins' code clips them at 0.1.
# Written as two schedulers, because --auto-scale-lr does not reach a one-cycle policy's own peak.
# Norms, biases and their tables, anchors, temperatures, tables of positions and prefix tokens do not decay.
max_epochs = 25
warmup_epochs = 8
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=3.57e-4, weight_decay=0.1),
    clip_grad=dict(max_norm=35.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            "anchors": dict(decay_mult=0.0),
            "temperature": dict(decay_mult=0.0),
            "bias_table": dict(decay_mult=0.0),
            "positions.table": dict(decay_mult=0.0),
            "prefix.tokens": dict(decay_mult=0.0),
        },
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1 / 25, begin=0, end=warmup_epochs, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1 / 2500,
        begin=warmup_epochs,
        end=max_epochs,
        T_max=max_epochs - warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="depth/rmse", rule="less"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
