"""The report as a table, as plain text where rich is missing, and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from effvit_mm.doctor.finding import Finding, Status, would_run

_STYLES = {Status.OK: "green", Status.NOTE: "cyan", Status.WARNING: "yellow", Status.WRONG: "bold red"}


def show(findings: Sequence[Finding], *, as_json: bool = False) -> None:
    """Print a report.

    Args:
        findings: What was found.
        as_json: Print ``{"runs": bool, "findings": [...]}`` and nothing else.
    """
    if as_json:
        content = {"runs": would_run(findings), "findings": [asdict(finding) for finding in findings]}
        print(json.dumps(content, indent=2))
        return
    try:
        _print_table(findings)
    except ImportError:
        _print_plain(findings)
    print(summarize(findings))


def summarize(findings: Sequence[Finding]) -> str:
    """What to mend, each with its command once, and the verdict."""
    lines = []
    mends: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.status is not Status.WRONG):
        if finding.mend:
            mends.setdefault(finding.mend, []).append(finding)
    for mend, causes in mends.items():
        names = ", ".join(dict.fromkeys(finding.name for finding in causes))
        lines += [f"{causes[0].status.value}: {names}: {causes[0].found}", f"    {mend}", ""]
    if would_run(findings):
        lines.append("effvit_mm runs here.")
    else:
        lines.append("effvit_mm does not run here. Run the commands from the top, then this again.")
    return "\n".join(lines)


def _print_table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "", "found")
    area = findings[0].area if findings else ""
    for finding in findings:
        if finding.area != area:
            table.add_section()
        shown, area = ("" if finding.area == area and table.rows else finding.area), finding.area
        # Text, because rich reads brackets in a string as markup.
        status = Text(finding.status.value, style=_STYLES[finding.status])
        table.add_row(shown, Text(finding.name), status, Text(finding.found))
    Console().print(table)


def _print_plain(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{finding.status.value:8} {finding.area:9} {finding.name:20} {finding.found}")
    print()
