#!/usr/bin/env bash
# Makes .venv from the hashed requirements. Needs Python 3.11 or newer; installs python3-venv where Debian left it out.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { apt-get update -qq && apt-get install -y -qq python3 python3-venv; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON to one" >&2; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "installing the pinned requirements into .venv"
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
