# Depth on toy scenes, in BTS's layout, with a schedule for two CPU cores.
_base_ = "../light_heads/depth.py"

toy_scenes = dict(root="data/toy_scenes", num_train=300, num_val=60, size=(128, 160))

data_root = "data/toy_scenes/nyu/"
meta_keys = ("img_path", "depth_map_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")

# A rendered room has depth up to its border, so nothing is cut off.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadDepth"),
    dict(type="RandomRotate", prob=0.5, degree=2.5, pad_val=0, seg_pad_val=0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomGammaBrightnessColor", prob=0.5),
    dict(type="PackSegInputs", meta_keys=meta_keys),
]
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(eigen_crop=False)
test_evaluator = val_evaluator

# 75 steps an epoch; one cycle of the learning rate, gradients clipped.
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="OneCycleLR", eta_max=5e-4, total_steps=75 * max_epochs, by_epoch=False),
]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=5.0))
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
