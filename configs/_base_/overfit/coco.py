# A few pictures of the config's own data at 320 pixels, learnt by heart: no augmentation, and they validate themselves.
scale = (320, 320)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# Of 16 pictures: 8 steps an epoch, 1200 in all.
max_epochs = 150
train_cfg = dict(max_epochs=max_epochs, val_interval=50)
param_scheduler = [dict(type="PerGroupOneCycleLR", eta_max=5e-4, total_steps=8 * max_epochs, by_epoch=False)]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=40), checkpoint=dict(interval=50, max_keep_ckpts=2))
