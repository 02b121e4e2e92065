"""What a shim says about itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shim:
    """The state of one shim, as :func:`effvit_mm.compat.report` lists it.

    Attributes:
        name: What the shim cures, in a few words.
        active: Whether it changes anything in this process, now or as soon as the module it cures is imported.
        why: The reason for either, in a sentence.
    """

    name: str
    active: bool
    why: str
