"""The long command: the slow tests, one by one, resumable.

`make test-long` (or `python -m tests.long`) goes on where it was stopped: what passed on the present
commit with a clean tree is not run again. `--fresh` forgets that, `--list` only shows what is left.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROGRESS = ROOT / ".long" / "progress.json"


def state_of_the_tree() -> str:
    """The commit, and a mark of its own while something is not committed."""

    def git(*words: str) -> str:
        asked = ["git", *words]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603

    return git("rev-parse", "HEAD").strip() + (":" + git("status", "--porcelain", "-uno") or "")


def slow_tests() -> list[str]:
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow", "tests"]
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    names = [line for line in found.stdout.splitlines() if "::" in line]
    if not names and found.returncode not in (0, 5):
        raise SystemExit(found.stdout + found.stderr)
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="forget what passed before")
    parser.add_argument("--list", action="store_true", help="only show what is left to run")
    wanted = parser.parse_args()
    tree = state_of_the_tree()
    passed: list[str] = []
    if PROGRESS.exists() and not wanted.fresh:
        known = json.loads(PROGRESS.read_text(encoding="utf-8"))
        passed = known["passed"] if known["tree"] == tree else []
    tests = slow_tests()
    left = [name for name in tests if name not in passed]
    if wanted.list:
        print("\n".join(left))  # noqa: T201
        return 0
    failed = []
    for place, name in enumerate(left, len(tests) - len(left) + 1):
        began = time.monotonic()
        asked = [sys.executable, "-m", "pytest", "-q", "-m", "slow", name]
        run = subprocess.run(asked, cwd=ROOT, check=False)  # noqa: S603
        print(f"[{place}/{len(tests)}] {name}: {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
        if run.returncode:
            failed.append(name)
            continue
        passed.append(name)
        PROGRESS.parent.mkdir(exist_ok=True)
        PROGRESS.write_text(json.dumps({"tree": tree, "passed": passed}), encoding="utf-8")
    print(f"{len(tests) - len(failed)} passed, {len(failed)} failed")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
