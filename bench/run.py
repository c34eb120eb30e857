"""Every measurement that README and docs quote, one after the other.

    make bench

Prints the machine, then each script's own table. Exits with 1 if a bound is missed.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

SCRIPTS = (
    "import_time",
    "complexity_speed",
    "overhead",
    "fallback",
    "budgets",
    "redis_ledger",
    "races",
    "metrics",
    "observing",
    "agents_node",
    "agents_middleware",
)


def main() -> int:
    """Run all scripts; 1 if any of them missed a bound."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    missed = []
    for name in SCRIPTS:
        print(f"\n== {name}", flush=True)
        script = Path(__file__).with_name(f"{name}.py")
        if subprocess.run([sys.executable, str(script)], check=False).returncode:  # noqa: S603  # our own scripts
            missed.append(name)
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nall bounds kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
