"""What other programs make of a file: the golden files of today's layout through each reader that
is installed here.

`pip install -r tests/readers.txt`, `apt-get install octave hdf5-tools`, then `pytest -m readers`;
what is not there is skipped. The table of the guide (meanfield/README.md) says what these tests
check.
"""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = [pytest.mark.readers, pytest.mark.filterwarnings("ignore")]

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("relu-schema1.1.h5", "masses-schema1.1.h5", "single-schema1.1.h5")
UNITS, VIEW = "particles/units/position", "particles/trajectory/position"


@pytest.fixture(params=NAMES)
def path(request):
    return str((GOLDEN / request.param).resolve())


@pytest.fixture
def expected(path):
    """Every data set by its name, as h5py reads it."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
        found.update(
            {f"series/{name}/value": group["value"][()] for name, group in file["series"].items()}
        )
    return found


def test_netcdf4_reads_both_views_the_series_and_the_flag(path, expected):
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(path) as file:
        for group in (UNITS, VIEW):
            for name in ("step", "time", "value"):
                np.testing.assert_array_equal(file[group][name][:], expected[f"{group}/{name}"])
        assert file["parameters"].mass_varies == ("masses" in path)
        name = next(iter(file["series"].groups))
        np.testing.assert_array_equal(
            file[f"series/{name}"]["value"][:], expected[f"series/{name}/value"]
        )


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_a_group_as_a_data_set(path, expected, engine):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4" if engine == "netcdf4" else engine)
    more = {"phony_dims": "sort"} if engine == "h5netcdf" else {}
    for group in (UNITS, VIEW):
        with xarray.open_dataset(path, group=group, engine=engine, **more) as found:
            for name in ("step", "time", "value"):
                np.testing.assert_array_equal(found[name], expected[f"{group}/{name}"])


def test_pytables_reads_both_views_and_all_attributes(path, expected):
    tables = pytest.importorskip("tables")
    with tables.open_file(path) as file:
        for group in (UNITS, VIEW):
            np.testing.assert_array_equal(
                file.get_node(f"/{group}/value").read(), expected[f"{group}/value"]
            )
        assert file.get_node("/parameters")._v_attrs.mass_varies == ("masses" in path)


def test_pyh5md_reads_elements_with_step_and_time(path, expected):
    pyh5md = pytest.importorskip("pyh5md")
    with pyh5md.File(path, "r") as file:
        for group in ("units", "trajectory"):
            found = pyh5md.element(file.particles_group(group), "position")
            for name in ("step", "time", "value"):
                np.testing.assert_array_equal(
                    getattr(found, name)[:], expected[f"particles/{group}/position/{name}"]
                )


def test_mdanalysis_reads_the_view_with_the_times_of_its_frames(path, expected):
    """Its dt and totaltime are made up; after `import zarrtraj` the name "H5MD" is another reader:
    the class is not.
    """
    MDAnalysis = pytest.importorskip("MDAnalysis")
    from MDAnalysis.coordinates.H5MD import H5MDReader

    universe = MDAnalysis.Universe.empty(len(expected["particles/units/id"]), trajectory=True)
    universe.load_new(path, format=H5MDReader, convert_units=False)
    assert [frame.time for frame in universe.trajectory] == expected[f"{VIEW}/time"].tolist()
    for number, frame in enumerate(universe.trajectory):
        np.testing.assert_array_equal(
            frame.positions, expected[f"{VIEW}/value"][number].astype(np.float32)
        )


def test_virtualizarr_reads_the_particles_and_nan_for_the_view(path, expected):
    """It does not follow a view inside one file; the fill value is what it shows."""
    pytest.importorskip("virtualizarr")
    xarray = pytest.importorskip("xarray")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr.parsers import HDFParser

    stores = ObjectStoreRegistry({"file://": LocalStore()})

    def group(name):
        return xarray.open_zarr(
            HDFParser(group=name)(url=f"file://{path}", registry=stores),
            consolidated=False,
            zarr_format=3,
        )

    np.testing.assert_array_equal(group(UNITS)["value"], expected[f"{UNITS}/value"])
    view = group(VIEW)
    assert (
        np.isnan(view["value"].values).all()
        and view["value"].shape == expected[f"{VIEW}/value"].shape
    )
    np.testing.assert_array_equal(view["time"], expected[f"{VIEW}/time"])


def test_kerchunk_reads_everything_with_a_threshold_and_the_view_as_nan(path, expected):
    """It leaves out checksummed arrays from 500 bytes on unless told to copy them; each has step
    and time of its own.
    """
    hdf = pytest.importorskip("kerchunk.hdf")
    fsspec, zarr = pytest.importorskip("fsspec"), pytest.importorskip("zarr", "3")
    references = hdf.SingleHdf5ToZarr(path, unsupported_inline_threshold=10**9).translate()
    files = fsspec.filesystem("reference", fo=references, remote_protocol="file", asynchronous=True)
    root = zarr.open_group(
        zarr.storage.FsspecStore(files, read_only=True, path=""), mode="r", zarr_format=2
    )
    np.testing.assert_array_equal(root[f"{UNITS}/value"][:], expected[f"{UNITS}/value"])
    assert np.isnan(root[f"{VIEW}/value"][:]).all()
    for group in (
        UNITS,
        VIEW,
        *(name.removesuffix("/value") for name in expected if name.startswith("observables/")),
    ):
        if f"{group}/time" in expected:
            np.testing.assert_array_equal(root[f"{group}/time"][:], expected[f"{group}/time"])


def test_octave_loads_the_whole_file(path, expected):
    if shutil.which("octave") is None:
        pytest.skip("octave is not installed")
    theta = "s.particles.units.position.value"
    program = (
        f"s = load('-hdf5', '{path}'); x = {theta}; v = "
        "s.particles.trajectory.position.value; printf('%d ', size(x)); "
    )
    program += (
        "printf('%.17g ', sum(double(x(:))), sum(double(v(:)))); disp(isfield(s, "
        "{'parameters', 'series', 'observables'}))"
    )
    said = subprocess.run(
        ["octave", "-qf", "--eval", program], capture_output=True, text=True
    ).stdout.split()
    value, view = expected[f"{UNITS}/value"], expected[f"{VIEW}/value"]
    # columns first
    assert [int(size) for size in said[:3]] == [*value.shape[::-1]] and said[5:] == [
        "1",
        "1",
        "1",
    ]
    sums = [value.sum(dtype=float), view.sum(dtype=float)]
    # sums in another order
    np.testing.assert_allclose([float(item) for item in said[3:5]], sums, rtol=1e-12)


def test_h5dump_shows_the_view(path, expected):
    if shutil.which("h5dump") is None:
        pytest.skip("h5dump (hdf5-tools) is not installed")
    command = ["h5dump", "-y", "-m", "%.17g", "-d", f"/{VIEW}/value", path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers = (
        said[said.index("DATA {") + 6 : said.rindex("}")].replace("}", "").replace(",", " ").split()
    )
    np.testing.assert_array_equal(np.array(numbers, dtype=float), expected[f"{VIEW}/value"].ravel())
