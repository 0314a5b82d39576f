#!/usr/bin/env bash
# submitit 1.5.3 makes no executor beside a setuptools that no longer has pkg_resources (82 and later), nor without setuptools,
# which it does not ask for. 1.5.4 does. Expected of a package: what it imports is among its requirements.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"

try() {
    "$python" -m pip install --quiet --disable-pip-version-check "submitit==$1" "setuptools==84.2.1" 2>/dev/null
    "$python" - <<'PROGRAM'
import tempfile
from importlib.metadata import version

import submitit

print(f"submitit {version('submitit')}, setuptools {version('setuptools')}: ", end="")
try:
    executor = submitit.AutoExecutor(tempfile.mkdtemp(), cluster="local")
except ModuleNotFoundError as error:
    print(f"ModuleNotFoundError: {error}")
else:
    print(f"an executor for cluster {executor.cluster!r}")
PROGRAM
}

old="$(try 1.5.3)"
new="$(try 1.5.4)"
printf '%s\n' "$old" "$new"
[[ "$old" == *"No module named 'pkg_resources'"* && "$new" == *"an executor"* ]] || { echo "it has changed" >&2; exit 1; }
echo "1.5.3 imports pkg_resources, which this setuptools does not have; 1.5.4 does not."
