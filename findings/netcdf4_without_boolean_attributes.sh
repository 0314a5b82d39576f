#!/usr/bin/env bash
# netCDF4 leaves out a boolean attribute of an HDF5 file by h5py, unless some data set of the file is boolean too.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check netCDF4==1.7.4 h5py==3.16.0

venv/bin/python - <<'PYTHON'
import h5py
import netCDF4

def attributes(name, mask):
    with h5py.File(name, "w") as file:
        file["x"] = [1.0, 2.0]
        file.attrs["periodic"] = True  # h5py stores an enumeration of FALSE and TRUE
        file.attrs["count"] = 3
        if mask:
            file["mask"] = [True, False]
    with netCDF4.Dataset(name) as file:
        return file.ncattrs()


print("netCDF4", netCDF4.__version__, "netcdf-c", netCDF4.__netcdf4libversion__, "h5py", h5py.__version__)
print("attributes of a file without a boolean data set:", alone := attributes("alone.h5", False))
print("attributes of a file with one:", beside := attributes("beside.h5", True))
assert alone == ["count"], "netCDF4 no longer leaves out the boolean attribute"
assert sorted(beside) == ["count", "periodic"], "a boolean data set no longer makes the difference"
PYTHON
echo "The attribute is missing, without an error or a warning; written as the integer 0 or 1 it is there."
