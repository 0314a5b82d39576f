#!/usr/bin/env bash
# kerchunk leaves out every data set with a Fletcher-32 checksum of 500 bytes or more; the warning is all that tells.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check kerchunk==0.2.10 h5py==3.16.0 zarr==3.1.6

venv/bin/python - <<'PYTHON'
import warnings

import h5py
import kerchunk
import kerchunk.hdf
import numpy as np

values = np.arange(1000.0)
with h5py.File("checked.h5", "w") as file:
    file.create_dataset("plain", data=values, chunks=(1000,))
    file.create_dataset("checked", data=values, chunks=(1000,), fletcher32=True)
    file.create_dataset("small", data=values[:10], chunks=(10,), fletcher32=True)


def arrays(**settings):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        references = kerchunk.hdf.SingleHdf5ToZarr("checked.h5", **settings).translate()["refs"]
    print(settings, "->", found := sorted(key[: -len("/.zarray")] for key in references if key.endswith("/.zarray")))
    return found, [str(item.message).splitlines()[1] for item in said]


print("kerchunk", kerchunk.__version__, "h5py", h5py.__version__)
found, said = arrays()
print("warnings:", said)
assert found == ["plain", "small"], "kerchunk no longer leaves out what has a checksum"
found, _ = arrays(unsupported_inline_threshold=10**9)
assert found == ["checked", "plain", "small"], "unsupported_inline_threshold no longer brings them back"
PYTHON
echo "The checksummed array is missing from the references; unsupported_inline_threshold copies it into them."
