#!/usr/bin/env bash
# MDAnalysis takes row k of an H5MD observable for frame k, though the observable has steps of its own.
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
    energy = file.create_group("observables/energy")  # at every step, the frames are at steps 0, 1, 10, 100
    energy["step"], energy["time"], energy["value"] = np.arange(101), np.arange(101) / 10, np.arange(101.0)

universe = MDAnalysis.Universe.empty(2, trajectory=True)
universe.load_new("run.h5", format="H5MD", convert_units=False)
trajectory = universe.trajectory
print("MDAnalysis", MDAnalysis.__version__, "h5py", h5py.__version__)
seen = [(int(frame.data["step"]), float(frame.data["energy"])) for frame in trajectory]
print("(step, energy) of each frame:", seen, "in the file the energy at step n is n")
assert seen == [(0, 0.0), (1, 1.0), (10, 2.0), (100, 3.0)], "observables are now aligned by their steps"
PYTHON
echo "At step 100 the energy is 100, and MDAnalysis says 3."
