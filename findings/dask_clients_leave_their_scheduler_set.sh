#!/usr/bin/env bash
# distributed.Client sets dask's global "scheduler" to "dask.distributed" and takes that back when it is closed, but not in two cases: two
# clients that are closed in the order in which they were opened, and an address of an unknown kind, for which Client raises ValueError.
# From then on Dataset.to_netcdf of xarray raises "Requested dask.distributed scheduler but no Client active." for a data set of plain
# NumPy arrays, and so does compute() of any array of dask. set_as_default=False keeps a client out of the setting.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check distributed==2026.8.0 dask==2026.8.0 xarray==2026.9.0 h5netcdf==1.8.2 h5py==3.16.0 2>/dev/null

cat >clients.py <<'PYTHON'
from contextlib import suppress

import dask
import distributed
import numpy as np
import xarray as xr


def setting():
    """What the clients have left, which is then taken away."""
    left = dask.config.get("scheduler", None)
    dask.config.config.pop("scheduler", None)
    return left


def closed(address, order, **options):
    clients = [distributed.Client(address, **options) for _ in range(2)]
    for k in order:
        clients[k].close()


def save():
    try:
        xr.Dataset({"m": ("runs", np.array([64, 256]))}).to_netcdf("m.nc", engine="h5netcdf")
    except RuntimeError as error:
        return str(error)
    return "saved"


if __name__ == "__main__":
    found = {}
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        closed(address, (1, 0))
        found["the last opened is closed first"] = save(), setting()
        closed(address, (0, 1), set_as_default=False)
        found["the first opened is closed first, set_as_default=False"] = save(), setting()
        closed(address, (0, 1))
    found["the first opened is closed first"] = save(), setting()
    with suppress(ValueError):
        distributed.Client("what://127.0.0.1:8786")
    unknown = setting()
    print(f"distributed {distributed.__version__}, xarray {xr.__version__}")
    for case, (saved, left) in found.items():
        print(f"{case}: scheduler = {left}; to_netcdf: {saved}")
    print(f"an address of an unknown kind: scheduler = {unknown}")
    asked = ("Requested dask.distributed scheduler but no Client active.", "dask.distributed")
    if list(found.values()) != [("saved", None), ("saved", None), asked] or unknown is None:
        raise SystemExit("this has changed")
PYTHON
venv/bin/python clients.py
