#!/usr/bin/env bash
# kerchunk knows a hard-linked data set of HDF5 under one of its names only, unless preserve_linked_dsets is set.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check kerchunk==0.2.10 h5py==3.16.0 zarr==3.1.6

venv/bin/python - <<'PYTHON'
import h5py
import kerchunk
import kerchunk.hdf
import numpy as np

with h5py.File("links.h5", "w") as file:
    for name in ("pressure", "temperature"):
        file.create_group(name)["value"] = np.arange(100.0)
    file["pressure/time"] = np.arange(100.0)
    file["temperature/time"] = file["pressure/time"]  # one data set, two names: what H5MD advises for equal clocks


def arrays(**settings):
    references = kerchunk.hdf.SingleHdf5ToZarr("links.h5").translate(**settings)["refs"]
    print(settings, "->", found := sorted(key[: -len("/.zarray")] for key in references if key.endswith("/.zarray")))
    return found


print("kerchunk", kerchunk.__version__, "h5py", h5py.__version__)
assert arrays() == ["pressure/time", "pressure/value", "temperature/value"], "kerchunk now follows hard links"
assert "temperature/time" in arrays(preserve_linked_dsets=True), "preserve_linked_dsets no longer follows hard links"
PYTHON
echo "The second group has values without their times, and nothing says so."
