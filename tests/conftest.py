"""One thread: the suite's tensors are small, and results do not depend on how many cores a machine has."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, in their order; only those of the configs part by folder."""
    for item in items:
        leaf = getattr(item, "callspec", None) and item.callspec.params.get("leaf")
        folder = leaf.parent.name if hasattr(leaf, "parent") else ""
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name}{folder}"))
