# What every run of a segmenter needs beside its model, data and schedule.
_base_ = "mmseg::_base_/default_runtime.py"

custom_imports = dict(imports=["effvit_mm", "effvit_mm.engine", "effvit_mm.datasets.index_mask_folder"])
custom_hooks = [dict(type="RunReportHook")]
randomness = dict(seed=0)
