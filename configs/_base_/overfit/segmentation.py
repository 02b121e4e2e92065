# A few pictures of the config's own data at 320 pixels, learnt by heart: no augmentation, and they validate themselves.
scale = (320, 320)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
# Pictures of different shapes do not fit one batch.
val_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_iters = 1200
train_cfg = dict(max_iters=max_iters, val_interval=400)
param_scheduler = [dict(type="PerGroupOneCycleLR", eta_max=5e-4, total_steps=max_iters, by_epoch=False)]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=40), checkpoint=dict(interval=400, max_keep_ckpts=2))
