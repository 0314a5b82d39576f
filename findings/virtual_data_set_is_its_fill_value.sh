#!/usr/bin/env bash
# virtualizarr and kerchunk read a virtual data set of HDF5, whose source is in the same file, as its fill value: zeros.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
# virtualizarr 2.8.0 needs Python 3.12; 2.5.1 is the last for 3.11 and does the same.
virtualizarr="$(python3 -c 'import sys; print("2.8.0" if sys.version_info >= (3, 12) else "2.5.1")')"
venv/bin/pip install -q --disable-pip-version-check "virtualizarr==$virtualizarr" kerchunk==0.2.10 h5py==3.16.0 xarray==2026.9.0 obstore==0.12.1

venv/bin/python - <<'PYTHON'
import warnings

import h5py
import kerchunk
import kerchunk.hdf
import numpy as np
import virtualizarr
import xarray
from obspec_utils.registry import ObjectStoreRegistry
from obstore.store import LocalStore
from pathlib import Path
from virtualizarr.parsers import HDFParser

warnings.simplefilter("ignore")
path = str(Path("views.h5").resolve())
with h5py.File(path, "w") as file:
    file.create_group("source")["value"] = np.arange(1.0, 7.0).reshape(2, 3)
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:, :] = h5py.VirtualSource(".", "/source/value", (2, 3))[:, :2]
    file.create_group("zeros").create_virtual_dataset("value", layout)
    file.create_group("nan").create_virtual_dataset("value", layout, fillvalue=np.nan)

print("virtualizarr", virtualizarr.__version__, "kerchunk", kerchunk.__version__, "h5py", h5py.__version__)
with h5py.File(path) as file:
    expected = file["zeros/value"][()]
    print("h5py follows the view to its source:", expected.tolist())
    assert expected.tolist() == [[1.0, 2.0], [4.0, 5.0]] == file["nan/value"][()].tolist()

stores = ObjectStoreRegistry({"file://": LocalStore()})
seen = {}
for group in ("source", "zeros", "nan"):
    store = HDFParser(group=group)(url=f"file://{path}", registry=stores)
    seen[group] = xarray.open_zarr(store, consolidated=False, zarr_format=3)["value"].values
    print(f"virtualizarr, {group}/value:", seen[group].tolist())
assert np.array_equal(seen["source"], np.arange(1.0, 7.0).reshape(2, 3))
assert not seen["zeros"].any(), "virtualizarr no longer reads zeros"
assert np.isnan(seen["nan"]).all(), "virtualizarr no longer reads the fill value"

references = kerchunk.hdf.SingleHdf5ToZarr(path, inline_threshold=0).translate()["refs"]
for name in ("zeros", "nan"):
    chunks = [key for key in references if key.startswith(f"{name}/value/") and not key.split("/")[-1].startswith(".")]
    print(f"kerchunk, {name}/value: metadata {references[f'{name}/value/.zarray']}, chunks that hold data: {chunks}")
    assert not chunks, "kerchunk no longer leaves the view without data, which reads as the fill value"
PYTHON
echo "A view inside one file is zeros, without an error or a warning; a fill value of NaN makes it NaN."
