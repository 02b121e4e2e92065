# 12 epochs, learning rate x0.1 after 8 and 11 (the stock 1x), with AdamW as the pyramid transformers are trained.
# lr is for 16 pictures a step (auto_scale_lr.base_batch_size); neither norms, biases and their tables, anchors,
# temperatures, tables of positions nor prefix tokens decay.
_base_ = "mmdet::_base_/schedules/schedule_1x.py"

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=0.05),
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
