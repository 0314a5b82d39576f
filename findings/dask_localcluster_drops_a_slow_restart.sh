#!/usr/bin/env bash
# A LocalCluster closes the nanny of a killed worker for good where its successor needs more than 15 s to start (a loaded machine, a
# slow import), though that nanny is restarting it: the cluster has one worker fewer, and a client of the last one waits without an error.
# distributed.deploy.lost-worker-timeout is the bound.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0

echo "import time; time.sleep(20)" >slow_start.py
cat >killed.py <<'PYTHON'
import os
import signal
import time

import dask
import distributed


def workers_left(bound):
    """Of two workers that need 20 s to start: how many there are 50 s after one was killed."""
    with dask.config.set({} if bound is None else {"distributed.deploy.lost-worker-timeout": bound}):
        options = {"dashboard_address": None, "worker_dashboard_address": None, "preload": ["slow_start.py"]}
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.wait_for_workers(2, timeout=120)
            os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)
            time.sleep(50)
            return len(client.scheduler_info()["workers"])


if __name__ == "__main__":
    print("distributed", distributed.__version__, "bound", dask.config.get("distributed.deploy.lost-worker-timeout"))
    default, longer = workers_left(None), workers_left("120s")
    print(f"workers left of 2: {default} with the default, {longer} with 120s")
    assert default == 1, "a worker that is slow to start again keeps its place"
    assert longer == 2, "a longer bound no longer keeps its place"
PYTHON
venv/bin/python killed.py 2>/dev/null
echo "Within the default 15 s the killed worker is not back: its nanny is closed and the cluster stays smaller."
