"""Say what is installed here, what is wrong with it, and the command that mends each thing.

Ends with status 1 where the toolkit would not run. Needs nothing but Python.

Examples:
    python tools/doctor.py
    python tools/doctor.py --json
"""

import argparse
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs"), help="where runs would write")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def main() -> None:
    """Examine and report."""
    # The rest is written for Python 3.10; an older one would end in a traceback.
    if sys.version_info < (3, 10):  # noqa: UP036
        sys.exit(f"error: effvit_mm needs Python 3.10 or newer, and {sys.executable} is {sys.version.split()[0]}")
    args = parse_args()
    # The package itself imports torch and OpenMMLab, which may be what is broken: the doctor is reached past it.
    package = ModuleType("effvit_mm")
    package.__path__ = [str(ROOT / "effvit_mm")]
    sys.modules["effvit_mm"] = package
    from effvit_mm.doctor import examine, show, would_run

    if sys.stderr.isatty():
        print("trying every package in a process of its own; this can take half a minute", file=sys.stderr)
    findings = examine(args.work_dir)
    show(findings, as_json=args.json)
    sys.exit(0 if would_run(findings) else 1)


if __name__ == "__main__":
    main()
