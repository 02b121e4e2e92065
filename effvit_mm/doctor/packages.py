"""What is installed, under which distribution, and what cannot be installed beside what."""

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

from effvit_mm.doctor.finding import Finding, Status
from effvit_mm.doctor.remedies import Remedies

AREA = "versions"
TOOLKIT = "effvit_mm"


@dataclass(frozen=True)
class Package:
    """A package by the name it is imported under.

    Attributes:
        module: That name.
        distributions: Every distribution that installs it.
        needed_for: What alone needs it; empty if everything does.
    """

    module: str
    distributions: tuple[str, ...]
    needed_for: str = ""


PACKAGES = (
    Package("torch", ("torch",)),
    Package("torchvision", ("torchvision",)),
    Package("timm", ("timm",)),
    Package("numpy", ("numpy",)),
    Package(
        "cv2",
        ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    ),
    Package("pycocotools", ("pycocotools",)),
    Package("rich", ("rich",)),
    Package("mmengine", ("onedl-mmengine", "mmengine", "mmengine-lite")),
    Package("mmcv", ("onedl-mmcv", "mmcv-lite", "mmcv", "mmcv-full")),
    Package("mmdet", ("onedl-mmdetection", "mmdet")),
    Package("mmseg", ("onedl-mmsegmentation", "mmsegmentation"), needed_for="configs for segmentation"),
    Package("mmpretrain", ("onedl-mmpretrain", "mmpretrain"), needed_for="configs for classification"),
)


@dataclass(frozen=True)
class Installed:
    """A distribution that is installed.

    Attributes:
        name: Its name, in lower case with single hyphens.
        version: Its version.
        folder: Where it lies.
        requires: What it says it needs, each as ``name>=1.0; marker``.
    """

    name: str
    version: str
    folder: str = ""
    requires: tuple[str, ...] = ()


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_installed() -> dict[str, list[Installed]]:
    """Every distribution that Python finds, by name; several of one name are those of several folders."""
    found: dict[str, list[Installed]] = {}
    for distribution in distributions():
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if not name or not version:
            continue  # what a broken installation leaves behind
        folder = str(distribution.locate_file(""))
        entries = found.setdefault(canonical(name), [])
        if folder not in [entry.folder for entry in entries]:
            entries.append(Installed(canonical(name), version, folder, tuple(distribution.requires or ())))
    return found


def examine_packages(installed: Mapping[str, Sequence[Installed]], remedies: Remedies) -> Iterator[Finding]:
    """Report every package: its version and distribution, its rivals for the same name, what it needs of others."""
    if TOOLKIT.replace("_", "-") in installed:
        (toolkit, *_) = installed[TOOLKIT.replace("_", "-")]
        yield Finding(AREA, TOOLKIT, Status.OK, f"{toolkit.version}")
    else:
        yield Finding(AREA, TOOLKIT, Status.WRONG, "not installed in this environment", remedies.install_toolkit())
    for package in PACKAGES:
        yield _examine_package(package, installed, remedies)
        yield from _twice_in_the_path(package, installed, remedies)
    yield from _unmet("torchvision", installed, remedies, only="torch")
    yield from _unmet(TOOLKIT.replace("_", "-"), installed, remedies)


def _examine_package(package: Package, installed: Mapping[str, Sequence[Installed]], remedies: Remedies) -> Finding:
    present = [installed[name][0] for name in package.distributions if name in installed]
    found = ", ".join(f"{entry.version} from {entry.name}" for entry in present)
    if len(present) > 1:
        names = [entry.name for entry in present]
        if package.module == "cv2":
            return Finding(AREA, "cv2", Status.NOTE, f"{found}: the one installed last is the one in use")
        trouble = f"{found}: each overwrites files of the other, so that neither is whole"
        return Finding(AREA, package.module, Status.WARNING, trouble, remedies.keep_one(names))
    if present:
        return Finding(AREA, package.module, Status.OK, found)
    folder = folder_of(package.module)
    if folder:
        return Finding(AREA, package.module, Status.NOTE, f"from {folder}, no distribution: its version is not known")
    if package.module == "mmpretrain":
        return Finding(AREA, package.module, Status.NOTE, f"not installed; only {package.needed_for} need it")
    trouble = f"not installed; needed for {package.needed_for}" if package.needed_for else "not installed"
    status = Status.WARNING if package.needed_for else Status.WRONG
    return Finding(AREA, package.module, status, trouble, remedies.install(package.module))


def folder_of(module: str) -> str:
    """Where a package lies that no distribution brought, such as a checkout on ``PYTHONPATH``."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    return spec.origin if spec is not None and spec.origin is not None else ""


def _twice_in_the_path(
    package: Package, installed: Mapping[str, Sequence[Installed]], remedies: Remedies
) -> Iterator[Finding]:
    for name in package.distributions:
        entries = installed.get(name, [])
        for other in entries[1:]:
            trouble = f"{entries[0].version} in {entries[0].folder} hides {other.version} in {other.folder}"
            yield Finding(AREA, package.module, Status.WARNING, trouble, remedies.uninstall_one(name))


def _unmet(
    name: str, installed: Mapping[str, Sequence[Installed]], remedies: Remedies, *, only: str = ""
) -> Iterator[Finding]:
    """What a distribution needs in another version than the one installed; what is missing is reported elsewhere."""
    for text in installed[name][0].requires if name in installed else ():
        requirement = _parse(text)
        if requirement is None or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        needed = canonical(requirement.name)
        if needed not in installed or (only and needed != only):
            continue
        version = installed[needed][0].version
        if not requirement.specifier.contains(version, prereleases=True):
            trouble = f"{name} {installed[name][0].version} asks for {needed}{requirement.specifier}, not {version}"
            mend = remedies.match_torch() if only else remedies.upgrade(f"{needed}{requirement.specifier}")
            yield Finding(AREA, needed, Status.WARNING, trouble, mend)


def _parse(requirement: str) -> Any:
    try:
        requirements = importlib.import_module("packaging.requirements")
    except ImportError:
        return None  # the toolkit does not run without it either, and the step that needs it says so
    try:
        return requirements.Requirement(requirement)
    except requirements.InvalidRequirement:
        return None
