"""Threads that wait shortly: imported by tools before torch, whose OpenMP reads its settings once.

By default threads spin while they wait for each other; where other work wants the cores, a step takes many times as
long.
"""

import os

SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

# What the user has set stays as it is.
if not any(name in os.environ for name in SETTINGS):
    os.environ["GOMP_SPINCOUNT"] = "1000"
