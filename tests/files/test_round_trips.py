"""What is written is what is read, to the bit: settings, states, memories and files."""

import json

import numpy as np
import pytest
import toy_run
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import meanfield as mf
from meanfield.files import hdf5, memory, new_files
from meanfield.files.durable import canonical_json, same_bits
from meanfield.formulas.activations import TABLE

MANY = pytest.mark.slow
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-300, 1e300)
scalings = st.builds(mf.Scaling, st.floats(-3, 3), positive)
trainable = st.sampled_from([("a",), ("w",), ("a", "b"), ("a", "w", "b")])
names = st.sampled_from(sorted(TABLE))
networks = st.builds(mf.Network, names, scalings, trainable)
laws = st.builds(
    mf.InitialLaw,
    dim=st.integers(1, 5),
    outputs=st.integers(1, 3),
    a=st.sampled_from(["rademacher", "normal"]),
    w=st.sampled_from(["normal", "sphere"]),
    a_std=positive,
    w_std=positive,
    b_std=st.floats(0, 1e300),
    symmetric=st.booleans(),
)


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=MANY)])
def test_settings_come_back_from_their_json(count):
    @examples(count)
    @given(st.one_of(scalings, networks, laws))
    def holds(setting):
        text = canonical_json(setting.to_dict())
        assert type(setting).from_dict(json.loads(text)) == setting
        assert canonical_json(type(setting).from_dict(json.loads(text)).to_dict()) == text

    holds()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
kinds = st.sampled_from(["f8", "f4", "i8", "u1", "?", "c16"])
shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
any_array = kinds.flatmap(lambda kind: arrays.arrays(kind, shapes))


@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=MANY)])
def test_a_memory_comes_back_with_every_bit(count, tmp_path):
    @examples(count)
    @given(
        st.dictionaries(st.text(max_size=5), values, max_size=4), any_array,
        st.sampled_from([0, new_files.IN_MEMORY + 1]),
    )  # fmt: skip
    def holds(plain, array, size):
        written = {**plain, "array": array, "deep": {"er": [array, 1]}}
        path = tmp_path / "memory.h5"
        with new_files.new_hdf5(path, size) as (file, _):
            memory.write_memory(file.create_group("memory"), written)
        with hdf5.open_hdf5(path) as file:
            read = memory.read_memory(file["memory"])
        assert {key: read[key] for key in plain if key not in ("array", "deep")} == {
            key: value for key, value in plain.items() if key not in ("array", "deep")
        }
        assert same_bits(read["array"], array) and same_bits(read["deep"]["er"][0], array)

    holds()


@st.composite
def runs(draw):
    """(dtype, frames of θ with any finite bits, values of a series with any bits)."""
    kind = draw(st.sampled_from(["f8", "f4"]))
    shape = draw(st.integers(1, 4)), draw(st.integers(3, 5))
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=8 * int(kind[1]))
    frames = draw(st.lists(arrays.arrays(kind, shape, elements=numbers), min_size=1, max_size=3))
    return kind, frames, draw(st.lists(st.floats(), min_size=1, max_size=4))


@pytest.mark.parametrize("count", [15, pytest.param(500, marks=MANY)])
def test_a_run_comes_back_with_every_bit(count, tmp_path):
    """-0, subnormal numbers, the NaN and infinities of a series; in parts and in one file."""

    @examples(count)
    @given(runs(), st.booleans())
    def holds(drawn, in_parts):
        kind, frames, series = drawn
        path, first = tmp_path / "run.h5", mf.State(frames[0], outputs=1)
        path.unlink(missing_ok=True)
        with toy_run.create(path, first=first) as recording:
            for step, theta in enumerate(frames):
                recording.frame(mf.State.trusted(theta, 1, first.mass, step, float(step)))
            for step, value in enumerate(series):
                recording.observe("any", step, float(step), value)
            if in_parts:
                recording.checkpoint({})
            recording.finish({}, {})
        with mf.Trajectory(path) as run:
            assert all(same_bits(run[k].theta, theta) for k, theta in enumerate(frames))
            assert same_bits(run.series("any").values, np.array(series))
            assert same_bits(run.start.theta, np.asarray(frames[0], dtype=kind))

    holds()
