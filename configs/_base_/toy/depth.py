# Depth on toy scenes, in BTS's layout, with a schedule for two CPU cores.
_base_ = "../light_heads/depth.py"

toy_scenes = dict(root="data/toy_scenes", num_train=300, num_val=60, size=(128, 160))

data_root = "data/toy_scenes/nyu/"
meta_keys = ("img_path", "depth_map_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")

# A rendered room has depth up to its border, so nothing is cut off.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadDepth"),
    # Half of them, where configs/nyu rotates all as BTS does: the figures of toy depth in docs/ were measured so.
    dict(type="RandomRotate", prob=0.5, degree=2.5, pad_val=0, seg_pad_val=0),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomGammaBrightnessColor", prob=0.5),
    dict(type="PackSegInputs", meta_keys=meta_keys),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadDepth"),
    dict(type="PackSegInputs", meta_keys=meta_keys),
]
# Whole, so that a config of one's own data is put on toy scenes, too.
dataset = dict(type="DepthListDataset", data_root=data_root, depth_scale=1000.0, max_depth=10.0)
training = dict(
    ann_file="nyu_train.txt", data_prefix=dict(img_path="sync", depth_map_path="sync"), pipeline=train_pipeline
)
validation = dict(
    ann_file="nyu_test.txt",
    data_prefix=dict(img_path="official_splits/test", depth_map_path="official_splits/test"),
    pipeline=test_pipeline,
    test_mode=True,
)
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(_delete_=True, **dataset, **training))
val_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(_delete_=True, **dataset, **validation))
test_dataloader = val_dataloader
val_evaluator = dict(eigen_crop=False, max_depth=10.0)
test_evaluator = val_evaluator

model = dict(decode_head=dict(max_depth=10.0))

# 75 steps an epoch; one cycle of the learning rate, gradients clipped.
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="PerGroupOneCycleLR", eta_max=5e-4, total_steps=75 * max_epochs, by_epoch=False),
]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=5.0))
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
