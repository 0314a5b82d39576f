#!/usr/bin/env bash
# setuptools' editable install adds its own submodules to a package of the same name that PYTHONPATH has found elsewhere: two commits of one project run mixed.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check setuptools==82.0.1

mkdir -p new/model old/model
echo 'VERSION = "new"' > new/model/__init__.py
echo 'from . import VERSION' > new/model/added.py # the older commit has no such module
echo 'VERSION = "old"' > old/model/__init__.py
cat > new/pyproject.toml <<'TOML'
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "model"
version = "1"
[tool.setuptools]
packages = ["model"]
TOML
mkdir new/docs # so that the packages do not lie alone, as in most projects

said() { # where model and model.added come from, with the older commit first on the path
    PYTHONPATH="$folder/old" venv/bin/python -P - <<'PYTHON'
import importlib.util
from pathlib import Path

import model

spec = importlib.util.find_spec("model.added")
found = "absent" if spec is None else Path(spec.origin).parts[-3]
print(f"model: {Path(model.__file__).parts[-3]}, model.added: {found}", end="")
if spec is not None:
    import model.added

    print(f", whose model.VERSION is {model.added.VERSION!r}", end="")
PYTHON
}

venv/bin/pip install -q --disable-pip-version-check --no-build-isolation -e ./new
mixed="$(said)"
venv/bin/pip install -q --disable-pip-version-check --no-build-isolation --force-reinstall ./new
plain="$(said)"
venv/bin/pip install -q --disable-pip-version-check --no-build-isolation --force-reinstall --config-settings editable_mode=compat -e ./new
compat="$(said)"

echo "setuptools 82.0.1, pip $(venv/bin/pip --version | cut -d' ' -f2)"
echo "new installed with -e:                     $mixed"
echo "new installed as a copy:                   $plain"
echo "new with -e and editable_mode=compat:      $compat"
[ "$mixed" = "model: old, model.added: new, whose model.VERSION is 'old'" ] || { echo "an editable install no longer joins another tree" >&2; exit 1; }
[ "$plain" = "model: old, model.added: absent" ]
echo "A module that one commit lacks is taken from the installed one, without an error or a warning."
