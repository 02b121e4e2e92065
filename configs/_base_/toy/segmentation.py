# Toy scenes as pictures and index masks, and a schedule for two CPU cores.
toy_scenes = dict(root="data/toy_scenes", num_train=300, num_val=60, size=(128, 160))

metainfo = dict(
    classes=("floor", "wall", "box", "sphere", "cylinder"),
    palette=[(170, 160, 140), (225, 225, 235), (220, 60, 60), (60, 180, 75), (65, 105, 225)],
)
# Whole, so that a config of one's own data is put on toy scenes, too.
dataset = dict(
    type="IndexMaskFolder",
    data_root="data/toy_scenes/ade20k",
    metainfo=metainfo,
    ann_file="",
    img_suffix=".jpg",
    seg_map_suffix=".png",
    reduce_zero_label=True,
)
training = dict(img_path="images/training", seg_map_path="annotations/training")
validation = dict(img_path="images/validation", seg_map_path="annotations/validation")

# Pictures are used as rendered: nothing is resized, so nothing is cropped larger than a picture.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=4, num_workers=2, dataset=dict(_delete_=True, **dataset, data_prefix=training, pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=4, num_workers=2, dataset=dict(_delete_=True, **dataset, data_prefix=validation, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

# Six times over the 300 scenes; one cycle of the learning rate, gradients clipped.
max_iters = 450
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [dict(type="PerGroupOneCycleLR", eta_max=5e-4, total_steps=max_iters, by_epoch=False)]
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=1.0))
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=75, max_keep_ckpts=2))
