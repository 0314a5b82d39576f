"""Tensors of torch and frames of pandas where arrays are taken, and the conversion where they
cannot be.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf

torch = pytest.importorskip("torch")
pd = pytest.importorskip("pandas")
REPOSITORY = Path(__file__).resolve().parents[2]
X, Y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6.0)
FORMS = {
    "tensor": torch.tensor,
    "tensor with a gradient": lambda a: torch.tensor(a, requires_grad=True),
    "frame": lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series(a),
    "list": np.ndarray.tolist,
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_other_libraries_are_taken_bit_for_bit(form):
    made = FORMS[form]
    state = mf.State(made(np.hstack([X, X[:, :2]])), 1, made(np.full(6, 1 / 6)))
    assert np.array_equal(state.theta, np.hstack([X, X[:, :2]])) and state.mass.dtype == np.float64
    assert mf.w2(made(X), made(2 * X)) == mf.w2(X, 2 * X)
    data = mf.data.Dataset(made(X), made(Y))
    risk = mf.EmpiricalRisk(mf.Network(), made(X), made(Y))
    assert (
        np.array_equal(data.x, X) and np.array_equal(risk.x, X) and np.array_equal(risk.y[:, 0], Y)
    )
    flow = mf.GradientFlow(risk)
    assert np.array_equal(flow.predict(state, made(X)), flow.predict(state, X))


def test_what_is_no_array_of_numbers_is_refused_with_the_conversion():
    mixed = pd.DataFrame({"u": [1.0, 2.0], "name": ["a", "b"]})
    risk, data = mf.EmpiricalRisk, mf.data.Dataset
    for make in (
        lambda: risk(mf.Network(), mixed, Y[:2]),
        lambda: mf.State(mixed),
        lambda: data(mixed, Y[:2]),
    ):
        with pytest.raises(TypeError, match=r"frame.to_numpy\(dtype=float\)"):
            make()
    half = torch.ones((2, 3), dtype=torch.bfloat16)
    for make in (
        lambda: mf.State(half),
        lambda: mf.w2(half, half),
        lambda: mf.data.Dataset(half, Y[:2]),
    ):
        with pytest.raises(TypeError, match=r"bfloat16.*\.to\(torch.float64\)\.numpy\(\)"):
            make()


def test_neither_torch_nor_pandas_is_imported_for_them():
    code = (
        "import sys, numpy as np, meanfield as mf; mf.State(np.ones((2, 3))); "
        "mf.EmpiricalRisk(mf.Network(), [[1.0]], [1.0]);"
        "print(*{'torch', 'pandas'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.strip() == ""
