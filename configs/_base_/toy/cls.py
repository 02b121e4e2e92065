# Classifiers on the objects of toy scenes, in ImageNet's layout, and a schedule for two CPU cores.
toy_scenes = dict(root="data/toy_scenes", num_train=300, num_val=60, size=(128, 160))

num_classes = 3
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    head=dict(num_classes=num_classes),
    # Mixtures of so few pictures are learnt slower than the pictures.
    train_cfg=None,
)
# Whole, so that a config of one's own data is put on toy scenes, too.
dataset = dict(
    type="ImageNet",
    data_root="data/toy_scenes/imagenet",
    metainfo=dict(classes=("box", "cylinder", "sphere")),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=64, crop_ratio_range=(0.5, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(64, 64)),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=10,
    num_workers=2,
    dataset=dict(_delete_=True, **dataset, split="train", pipeline=train_pipeline),
    sampler=dict(_delete_=True, type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    batch_size=10, num_workers=2, dataset=dict(_delete_=True, **dataset, split="val", pipeline=test_pipeline)
)
test_dataloader = val_dataloader
# There are no five classes to choose among.
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

# 30 steps an epoch; the learning rate rises for 3 of them and falls, gradients are clipped. (A one-cycle policy would
# give every group of parameters the same peak, and offsets of LIT have one of their own.)
max_epochs = 15
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, end=90, by_epoch=False),
    dict(type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=3e-4), clip_grad=dict(_delete_=True, max_norm=1.0))
default_hooks = dict(logger=dict(interval=15), checkpoint=dict(interval=5, max_keep_ckpts=2))
