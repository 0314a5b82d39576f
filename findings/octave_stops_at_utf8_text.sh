#!/usr/bin/env bash
# Octave stops loading an HDF5 file at the first text in UTF-8 and leaves out all that follows. Needs octave on the PATH.
set -euo pipefail

if ! command -v octave > /dev/null; then
    echo "not tried: there is no octave here (Debian 12: apt-get install octave, 7.3.0)"
    exit 0
fi
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check h5py==3.16.0

venv/bin/python - <<'PYTHON'
import h5py
import numpy as np

print("h5py", h5py.__version__)
for name, encoding in (("ascii.h5", "ascii"), ("utf8.h5", "utf-8")):
    with h5py.File(name, "w") as file:
        file["a_before"] = [1.0, 2.0]
        file["b_text"] = np.array(b"plain letters", dtype=h5py.string_dtype(encoding, 13))  # the same bytes, marked otherwise
        file["c_after"] = [3.0, 4.0]
PYTHON
octave --version 2> /dev/null | head -n 1
seen() { octave -qf --eval "disp(strjoin(fieldnames(load('-hdf5', '$1'))', ' '))" 2> /dev/null || true; }
ascii="$(seen ascii.h5)"
utf8="$(seen utf8.h5)"
echo "variables of the file with an ASCII text: $ascii"
echo "variables of the file with a UTF-8 text:  $utf8"
[ "$ascii" = "a_before b_text c_after" ] || { echo "Octave no longer reads the ASCII file"; exit 1; }
[ "$utf8" = "a_before" ] || { echo "Octave no longer stops at the text"; exit 1; }
echo "What follows the text is lost; load returns all the same, and only a warning on stderr tells."
