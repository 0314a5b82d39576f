#!/usr/bin/env bash
# tqdm: a bar with disable=True, which shows nothing and never will, starts the thread that watches over bars (TMonitor); it stays to the
# end of the process. A program that forks later forks a process with threads, of which Python 3.12 and later warn.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check tqdm==4.67.1

cat >disabled.py <<'PYTHON'
import threading

import tqdm

print("tqdm", tqdm.__version__)
assert threading.active_count() == 1
with tqdm.tqdm(total=3, disable=True) as bar:
    bar.update(3)
left = [type(each).__name__ for each in threading.enumerate() if each is not threading.main_thread()]
print("threads after a disabled bar:", left)
assert left == ["TMonitor"], "a disabled bar starts no thread"
PYTHON
venv/bin/python disabled.py
