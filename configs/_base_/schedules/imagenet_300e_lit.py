# 300 epochs on ImageNet as LIT-S, M and B were trained: AdamW, 20 epochs of warm-up from 1e-6, cosine to 1e-5.
# lr is for 1024 pictures a step. Offsets of the merging learn at 0.01 of it, their biases in full, as in the released
# code; neither biases, norms nor bias tables decay. (At 0.01 of 1e-3 the offsets start on the cosine's floor and stay.)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={"offset.weight": dict(lr_mult=0.01), "bias_table": dict(decay_mult=0.0)},
    ),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-5, by_epoch=True, begin=20, T_max=280, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)
