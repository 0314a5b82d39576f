#!/usr/bin/env bash
# import zarrtraj puts another reader under MDAnalysis's name H5MD, which refuses valid files without units.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check zarrtraj==0.3.3 MDAnalysis==2.11.0 h5py==3.16.0

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


def frames(reader):
    universe = MDAnalysis.Universe.empty(2, trajectory=True)
    universe.load_new("run.h5", format=reader, convert_units=False)
    return universe.trajectory.n_frames


print("MDAnalysis", MDAnalysis.__version__, "before:", MDAnalysis._READERS["H5MD"].__module__, frames("H5MD"), "frames")
import zarrtraj

print("zarrtraj", zarrtraj.__version__, "after:", MDAnalysis._READERS["H5MD"].__module__)
assert MDAnalysis._READERS["H5MD"].__module__.startswith("zarrtraj"), "zarrtraj no longer takes the name"
try:
    frames("H5MD")
except ValueError as error:
    print("the same file:", error)
else:
    raise SystemExit("the other reader now opens the file")
assert frames(MDAnalysis.coordinates.H5MD.H5MDReader) == 4
PYTHON
echo "The class MDAnalysis.coordinates.H5MD.H5MDReader, given as format=, still opens it."
