#!/usr/bin/env bash
# MDAnalysis numbers the frames of an H5MD file anew in transfer_to_memory: their times are lost.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check MDAnalysis==2.11.0 h5py==3.16.0

venv/bin/python - <<'PYTHON'
import warnings

import h5py
import MDAnalysis
import numpy as np

warnings.simplefilter("ignore")
with h5py.File("run.h5", "w") as file:  # H5MD 1.1: four frames of two particles at times that are not evenly spaced
    file.create_group("h5md").attrs["version"] = [1, 1]
    file.create_group("h5md/author").attrs["name"] = "nobody"
    file.create_group("h5md/creator").attrs.update({"name": "h5py", "version": h5py.__version__})
    box = file.create_group("particles/all/box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array(["none"] * 3, dtype="S4")
    position = file.create_group("particles/all/position")
    position["step"], position["time"] = [0, 1, 10, 100], [0.0, 0.1, 1.0, 10.0]
    position["value"] = np.arange(24.0).reshape(4, 2, 3)

universe = MDAnalysis.Universe.empty(2, trajectory=True)
universe.load_new("run.h5", format="H5MD", convert_units=False)
trajectory = universe.trajectory
print("MDAnalysis", MDAnalysis.__version__, "h5py", h5py.__version__)
before = [float(frame.time) for frame in trajectory]
universe.transfer_to_memory()
after = [float(frame.time) for frame in universe.trajectory]
print("times before", before, "after transfer_to_memory", after)
assert before == [0.0, 0.1, 1.0, 10.0]
assert after == [0.0, 1.0, 2.0, 3.0], "transfer_to_memory now keeps the times"
PYTHON
echo "In memory the frames are at 0, 1, 2, 3."
