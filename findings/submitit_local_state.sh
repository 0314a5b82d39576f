#!/usr/bin/env bash
# submitit's local jobs: job.state is FINISHED for a job that returned, for one that raised and for one whose time was up.
# Expected: as on SLURM, where a job that raised is FAILED and one out of time TIMEOUT. Only job.result() tells them apart.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check submitit==1.5.4 2>/dev/null

cat >"$folder/jobs.py" <<'PROGRAM'
import sys
import time
from importlib.metadata import version

import submitit


def returns():
    return 1


def raises():
    raise ValueError("it went wrong")


def takes_too_long():
    time.sleep(600)


print(f"submitit {version('submitit')}")
executor = submitit.LocalExecutor(folder=sys.argv[1], max_num_timeout=0)
executor.update_parameters(timeout_min=0.1, signal_delay_s=2)  # 6 s
jobs = {function.__name__: executor.submit(function) for function in (returns, raises, takes_too_long)}
states = {}
for name, job in jobs.items():
    try:
        said = repr(job.result())
    except Exception as error:
        said = f"{type(error).__name__}"
    states[name] = job.state
    print(f"{name:15} result: {said:25} state: {job.state}")
sys.exit(set(states.values()) != {"FINISHED"})
PROGRAM

"$python" "$folder/jobs.py" "$folder/logs" 2>/dev/null || { echo "it has changed" >&2; exit 1; }
echo "One state for the three."
