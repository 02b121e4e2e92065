"""Which module registers a type of ours, and what to say of one that is not registered."""

from collections.abc import Iterable

from effvit_mm.registry import near_names

# Backbones are not among them: every tool imports effvit_mm, which registers them.
REGISTERED_BY = {
    "effvit_mm.engine": (
        "AnchorHealthHook",
        "AuxiliaryLossHook",
        "GradientHook",
        "KeepAnnealingHook",
        "KeepingCheckpointHook",
        "KeptTokensHook",
        "LayerDecayOptimWrapperConstructor",
        "PerGroupOneCycleLR",
        "RunReportHook",
        "SelectorLossHook",
    ),
    "effvit_mm.engine.classification_drawing": ("ClassificationVisualizer",),
    "effvit_mm.datasets.index_mask_folder": ("IndexMaskFolder",),
    "effvit_mm.necks": ("ContextBridge", "QueryBridge"),
    "effvit_mm.depth": (
        "BorderCrop",
        "DepthFolderDataset",
        "DepthGradientLoss",
        "DepthListDataset",
        "DepthVisualizer",
        "LinearDepthHead",
        "LoadDepth",
        "MonoDepthEstimator",
        "MonoDepthMetric",
        "PyramidDepthHead",
        "RandomGammaBrightnessColor",
        "SILogLoss",
    ),
}


def how_to_register(kind: object, known: Iterable[str]) -> str:
    """Say what a type that is not registered lacks: the import of its module, if it is one of ours, or its spelling.

    Args:
        kind: The type, as the config names it.
        known: The names that are registered.

    Returns:
        The end of an error message.
    """
    for module, names in REGISTERED_BY.items():
        if kind in names:
            modules = ", ".join(map(repr, dict.fromkeys(("effvit_mm", "effvit_mm.engine", module))))
            return (
                f"it is registered by {module}: add {module!r} to the imports of custom_imports. A list in a config "
                f"takes the place of its base's, so it names the modules of the base, too: "
                f"custom_imports=dict(imports=[{modules}, ...])"
            )
    return near_names(kind, known)
