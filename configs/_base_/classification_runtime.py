# What every run of a classifier needs beside its model, data and schedule.
_base_ = "mmpretrain::_base_/default_runtime.py"

custom_imports = dict(imports=["effvit_mm", "effvit_mm.engine", "effvit_mm.engine.classification_drawing"])
custom_hooks = [dict(type="RunReportHook")]
visualizer = dict(type="ClassificationVisualizer")
randomness = dict(seed=0)
# The stock hooks without the one that draws: it is off. The report draws.
default_hooks = dict(
    _delete_=True,
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="auto", rule="greater"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
