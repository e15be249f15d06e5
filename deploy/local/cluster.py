#!/usr/bin/env python3
"""The local cluster: kind where Docker runs, else a real single-node Kubernetes without it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from docuquery_local.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
