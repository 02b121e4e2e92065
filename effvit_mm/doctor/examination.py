"""The whole examination: packages, machine, and whether it runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from effvit_mm.doctor.finding import Finding, Status
from effvit_mm.doctor.machine import examine_machine, nvidia_driver
from effvit_mm.doctor.packages import Installed, examine_packages, list_installed
from effvit_mm.doctor.probing import Outcome, run_steps
from effvit_mm.doctor.remedies import CLONE, Remedies, mend_failure

AREA = "it runs"
Runner = Callable[[str], Mapping[str, Outcome]]
# What a detector can do without.
_OPTIONAL = {"mmseg"}
_OPENMMLAB = {"mmengine", "mmcv", "mmdet", "mmseg"}


def examine(
    work_dir: Path = Path("work_dirs"),
    *,
    installed: Mapping[str, Sequence[Installed]] | None = None,
    run: Runner = run_steps,
) -> list[Finding]:
    """Examine this Python, its packages and this machine.

    Args:
        work_dir: The folder that runs would write to.
        installed: The distributions that are installed; what Python finds by default.
        run: What runs a group of steps.

    Returns:
        The findings, in the order in which to mend what is wrong.
    """
    installed = list_installed() if installed is None else installed
    remedies = Remedies(installed)
    findings = [*examine_machine(work_dir), *examine_packages(installed, remedies)]
    failures = _Failures(remedies, findings)
    for group in ("opencv", "torch"):
        findings += _examine_steps(run(group), failures)
    absent = {finding.name for finding in findings if finding.status is Status.WRONG} & {"torch", "torchvision"}
    if absent:
        found = f"not tried: {' and '.join(sorted(absent))} must work first"
        return [*findings, Finding(AREA, "effvit_mm", Status.WRONG, found)]
    return [*findings, *_examine_steps(run("toolkit"), failures)]


class _Failures:
    """Describes steps that failed, and gives each cause its command once.

    Args:
        remedies: The commands.
        findings: What was found out about the packages.
    """

    def __init__(self, remedies: Remedies, findings: Sequence[Finding]) -> None:
        self.remedies = remedies
        self._seen: dict[str, str] = {}
        # Two distributions of one name explain any failure of OpenMMLab.
        mends = [finding.mend for finding in findings if finding.name in _OPENMMLAB and finding.mend]
        self._mend_of_openmmlab = mends[0] if mends else ""

    def describe(self, step: str, outcome: Outcome) -> Finding:
        """The finding of a step that failed."""
        status = Status.WARNING if step in _OPTIONAL else Status.WRONG
        first = self._seen.setdefault(outcome.trouble, step)
        if first != step:
            return Finding(AREA, step, status, f"fails as {first} does")
        mend = self._mend_of_openmmlab if step in _OPENMMLAB else ""
        mend = mend or mend_failure(step, outcome.trouble, outcome.missing, self.remedies)
        return Finding(AREA, step, status, outcome.trouble, mend)


def _examine_steps(outcomes: Mapping[str, Outcome], failures: _Failures) -> Iterator[Finding]:
    for step, outcome in outcomes.items():
        if outcome.trouble:
            yield failures.describe(step, outcome)
        elif step == "shims":
            yield from _shims(outcome)
        elif step == "accelerator":
            yield from _accelerator(outcome, outcomes["torch"], failures.remedies)
        else:
            yield from _success(step, outcome)


def _success(step: str, outcome: Outcome) -> Iterator[Finding]:
    facts = outcome.facts
    if step == "effvit_mm":
        folder = Path(facts["file"]).parent.parent
        if folder.resolve() != CLONE:
            yield Finding(AREA, step, Status.NOTE, f"{facts['version']} is imported from {folder}, not from this clone")
            return
    if step == "torch":
        build = f"CUDA {facts['cuda']}" if facts["cuda"] else "no CUDA"
        threads = f"{facts['threads']} thread{'s' if facts['threads'] != 1 else ''}"
        found = f"{facts['version']} imports and computes; {build}; {threads}"
    elif step == "forward":
        shapes = " ".join("x".join(map(str, shape[1:])) for shape in facts["shapes"])
        found = f"anchorformer_t gives {shapes} in {facts['ms']:.0f} ms"
    elif step == "torchvision.ops.nms":
        found = f"runs on {' and '.join(facts['devices'])}"
    else:
        found = "imports"
    yield Finding(AREA, step, Status.OK, found)


def _accelerator(outcome: Outcome, torch: Outcome, remedies: Remedies) -> Iterator[Finding]:
    facts = outcome.facts
    if facts["kind"] is not None:
        bf16 = {True: ", bfloat16", False: ", no bfloat16", None: ""}[facts["bf16"]]
        yield Finding(AREA, "accelerator", Status.OK, f"{facts['kind']}: {'; '.join(facts['names'])}{bf16}")
        return
    driver = nvidia_driver()
    if not driver:
        yield Finding(AREA, "accelerator", Status.OK, "none; training runs on the CPU, in float32")
        return
    if torch.facts["cuda"]:
        trouble = f"{driver}: the driver is too old for a torch built for CUDA {torch.facts['cuda']}"
        yield Finding(AREA, "accelerator", Status.WARNING, trouble, remedies.reinstall_torch("cu126"))
    else:
        trouble = f"{driver}: not used, torch {torch.facts['version']} is built without CUDA"
        yield Finding(AREA, "accelerator", Status.WARNING, trouble, remedies.reinstall_torch())


def _shims(outcome: Outcome) -> Iterator[Finding]:
    for name, active, why in outcome.facts["shims"]:
        yield Finding("shims", name, Status.OK, f"{'active' if active else 'not active'}: {why}")
