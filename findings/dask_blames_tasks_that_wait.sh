#!/usr/bin/env bash
# dask counts the death of a worker against tasks that only waited in its queue: with allowed-failures 0 a task that never began ends as
# KilledWorker beside the one that ran, and its message says that workers died "while trying to run it".
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0

cat >waiting.py <<'PYTHON'
import os
import signal
import time
from pathlib import Path

import dask
import distributed


def task(number, folder):
    Path(folder, f"began.{number}").touch()
    if number == 0:
        time.sleep(600)
    return number


def main():
    print("distributed", distributed.__version__)
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    folder = Path.cwd()
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        tasks = [client.submit(task, k, str(folder), priority=-k) for k in range(4)]
        while not (folder / "began.0").exists():
            time.sleep(0.1)
        time.sleep(2)
        began = sorted(file.name for file in folder.glob("began.*"))
        os.kill(*client.run(os.getpid).values(), signal.SIGKILL)
        distributed.wait(tasks, timeout=120)
        ended = [type(each.exception()).__name__ if each.status == "error" else each.status for each in tasks]
    print("begun before the kill:", began)
    print("ended:", ended)
    assert began == ["began.0"], "one thread runs one task at a time"
    assert ended == ["KilledWorker", "KilledWorker", "finished", "finished"], "tasks that waited are judged otherwise"


if __name__ == "__main__":
    main()
PYTHON
venv/bin/python waiting.py 2>/dev/null
echo "Task 1 had not begun when the worker died, and was given up for it."
