#!/usr/bin/env bash
# MDAnalysis tells dt = 1 and totaltime = frames - 1 of an H5MD file whose frames have other times.
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
times = [float(frame.time) for frame in trajectory]
print("times", times, "dt", trajectory.dt, "totaltime", trajectory.totaltime)
assert times == [0.0, 0.1, 1.0, 10.0]
assert trajectory.dt == 1.0 and trajectory.totaltime == 3.0, "dt and totaltime now follow the times"
PYTHON
echo "Each frame has its own time; trajectory.dt and trajectory.totaltime are made up."
