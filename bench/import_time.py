"""What `import tiered_llm` costs, beside an empty interpreter, in processes of their own.

    python bench/import_time.py [--json] [--rounds 15]

Exits with 1 if the import takes 0.15 s or more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median

BOUND_S = 0.15
PROGRAM = """
from time import perf_counter
start = perf_counter()
import {module}
print(perf_counter() - start)
"""


def import_s(module: str, rounds: int) -> float:
    """Median seconds of an import in a new process."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    return median(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603  # our own program
        for _ in range(rounds)
    )


def main() -> int:
    """Measure, print, and tell whether the bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=15, help="processes for each module")
    given = parser.parse_args()
    modules = ("tiered_llm", "tiered_llm.chat_model", "langchain_core.language_models")
    times = {module: import_s(module, given.rounds) for module in modules}
    met = times["tiered_llm"] < BOUND_S
    if given.json:
        print(json.dumps({"import_s": times, "bound_s": BOUND_S, "met": met}, indent=2))
    else:
        for module, seconds in times.items():
            print(f"import {module:32} {seconds * 1000:8.1f} ms")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
