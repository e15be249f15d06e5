"""Install the Debian packages that the benchmarks and their peers need, where they are missing; part of `make bench`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.run_all import install

PACKAGES = (
    "postgresql",
    "redis-server",
    "curl",
    "goaccess",
    "prometheus",
    "prometheus-blackbox-exporter",
    "prometheus-alertmanager",
)

if __name__ == "__main__":
    install(PACKAGES)
