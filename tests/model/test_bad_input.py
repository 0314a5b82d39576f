"""Bad input: an error that says what was asked, what was found, what to do; nothing is created,
nothing is lost.
"""

import json
import os

import h5py
import numpy as np
import pytest

import meanfield as mf
from meanfield.files.durable import IncompatibleFile

X = np.linspace(-1, 1, 12).reshape(6, 2)
Y = np.arange(6.0)
LAW = mf.InitialLaw(dim=2)
STATE = LAW.sample(8, seed=0)
NETWORK = mf.Network("tanh")
NAN = np.where(np.arange(12).reshape(6, 2) == 7, np.nan, X)


def risk(x=X, y=Y, network=NETWORK, **settings):
    return mf.EmpiricalRisk(network, x, y, **settings)


def flow(**settings):
    return mf.GradientFlow(risk(), **settings)


def simulate(of=None, state=STATE, method=mf.RK4, path="run.h5", **clock):
    recorder = mf.Recorder(path, mf.evenly(3))
    return mf.simulate(
        of or flow(),
        state,
        method,
        observers=[recorder],
        progress=False,
        **(clock or {"dt": 0.1, "t_end": 0.5}),
    )


def classes(K, y=(0, 1, 2, 0, 1, 2)):
    """A flow on integer classes and a state of K outputs."""
    return simulate(
        mf.GradientFlow(risk(y=np.array(y), loss="softmax")),
        mf.InitialLaw(dim=2, outputs=K).sample(4),
    )


BAD = [
    # ---- networks and scalings
    (lambda: mf.Network("rleu"), ValueError, "unknown activation 'rleu'. Did you mean 'relu'"),
    (lambda: mf.Network(3), TypeError, "activation must be a name or an mf.Activation; got 3"),
    (lambda: mf.Network("leaky_relu(x)"), ValueError, "is not a number; write for example"),
    (lambda: mf.Network(scaling=0.5), TypeError, "scaling must be an mf.Scaling such as mf.MEAN_FIELD"),
    (lambda: mf.Network(trainable=("a", "c")), ValueError, 'trainable must be a subset of .* got .*c'),
    (lambda: mf.Network(trainable="ab"), TypeError, "trainable must be a tuple"),
    (lambda: mf.Scaling(gamma=float("nan")), TypeError, "gamma must be a finite number; got nan"),
    (lambda: mf.Scaling(alpha=0.0), ValueError, "alpha must be positive; got 0"),
    (lambda: mf.Scaling(alpha="1"), TypeError, "alpha must be a finite number; got '1'"),
    # ---- particles
    (lambda: LAW.sample(0), ValueError, "the width m must be an integer >= 1; got 0"),
    (lambda: LAW.sample(-4), ValueError, "the width m must be an integer >= 1; got -4"),
    (lambda: LAW.sample(2.5), ValueError, "the width m must be an integer >= 1; got 2.5"),
    (lambda: LAW.sample(4, seed=2**32), ValueError, "seed must lie in 0 … 4294967295"),
    (lambda: mf.InitialLaw(dim=2, symmetric=True).sample(7), ValueError, "m must be even; got 7. Use 8"),
    (lambda: mf.InitialLaw(dim=0), ValueError, "dim must be an integer >= 1; got 0"),
    (lambda: mf.InitialLaw(dim=2, a="gauss"), ValueError, "a must be one of rademacher, normal, zero; got 'gauss'"),
    (lambda: mf.InitialLaw(dim=2, w_std=-1.0), ValueError, "w_std must be a finite number >= 0; got -1.0"),
    (lambda: mf.State(np.zeros(4)), ValueError, r"theta must be \(m, p\), one row a particle; got \(4,\)"),
    (lambda: mf.State(np.zeros((0, 4))), ValueError, "theta has no particles"),
    (lambda: mf.State(np.zeros((3, 2))), ValueError, r"needs p = K \+ d \+ 1 >= 3 columns .* got p = 2"),
    (lambda: mf.State(np.array([["a", "b", "c"]])), TypeError, "theta must be real numbers; got dtype <U1"),
    (lambda: mf.State(np.ones((2, 4), complex)), TypeError, "theta must be real numbers; got dtype complex128"),
    (lambda: mf.State(np.array([[1, 2, 3, 4], [1, np.nan, 3, 4]])), ValueError, "in 1 of 2 particles, first in particle 1"),
    (lambda: mf.State(np.ones((2, 4)), mass=[0.5, 0.6]), ValueError, "masses must sum to 1; got 1.1"),
    (lambda: mf.State(np.ones((2, 4)), mass=[1.0]), ValueError, r"mass must be \(2,\), one for each particle; got \(1,\)"),
    (lambda: mf.State(np.ones((2, 4)), mass=[2.0, -1.0]), ValueError, "masses must be finite and non-negative"),
    # ---- data and losses
    (lambda: risk(x=X[:, 0]), ValueError, r"x must be \(n, d\), one row a sample; got \(6,\). For scalar inputs use"),
    (lambda: risk(x=X[:0]), ValueError, "x has no rows"),
    (lambda: mf.GradientFlow(risk()).predict(mf.InitialLaw(2).sample(4), X[:0]), ValueError, "x has no rows"),
    (lambda: risk(x=X[:, :0]), ValueError, "x has no columns"),
    (lambda: risk(x=NAN), ValueError, "x has 1 NaN or infinite values, first at row 3, column 1"),
    (lambda: risk(x=X.astype(str)), TypeError, "x must be real numbers; got dtype <U"),
    (lambda: risk(x=X + 0j), TypeError, "x must be real numbers; got dtype complex128"),
    (lambda: risk(x=X.T), ValueError, r"got x \(2, 6\) and y \(6,\). That looks like one column a sample, \(d, n\): pass x.T\."),
    (lambda: risk(x=X.T, y=Y[None]), ValueError, r"got x \(2, 6\) and y \(1, 6\).*pass x.T and y.T"),
    (lambda: flow().predict(STATE, X.T), ValueError, r"x must be \(n, 2\).*got \(2, 6\). That looks like \(d, n\).*pass x.T"),
    (lambda: classes(3, (1, 2, 3, 1, 2, 3)), ValueError, r"labels run from 1 to 3: counted from 0 they are y - 1"),
    (lambda: risk(y=Y[:4]), ValueError, r"y must be \(6,\) or \(6, K\), one row for each row of x; got \(4,\)"),
    (lambda: risk(y=np.where(Y == 2, np.inf, Y)), ValueError, "y has NaN or infinite values, first in row 2"),
    (lambda: risk(y=Y.astype(str)), TypeError, "y must be real numbers; got dtype <U"),
    (lambda: risk(loss="sqared"), ValueError, "unknown loss 'sqared'. Did you mean 'squared'"),
    (lambda: risk(loss=2), TypeError, "loss must be a name or an mf.Loss; got 2"),
    (lambda: risk(loss="logistic"), ValueError, r"wants labels -1 and \+1; got values such as"),
    (lambda: risk(y=Y % 2, loss="hinge"), ValueError, r"For labels 0 and 1 use 2\*y - 1"),
    (lambda: risk(y=np.eye(6), loss="softmax"), ValueError, r"wants integer classes .* For one-hot rows use y.argmax\(axis=1\)"),
    (lambda: risk(y=Y - 1, loss="softmax"), ValueError, "wants integer classes"),
    (lambda: risk(y=Y + 0.5, loss="softmax"), ValueError, "wants integer classes"),
    (lambda: risk(reduction="average"), ValueError, 'reduction must be "mean" or "sum"; got .average'),
    (lambda: risk(ridge=-0.1), ValueError, "ridge must be a finite number >= 0; got -0.1"),
    (lambda: risk(ridge="0.1"), ValueError, "ridge must be a finite number >= 0; got '0.1'"),
    (lambda: mf.EmpiricalRisk("tanh", X, Y), TypeError, "network must be an mf.Network; got str"),
    # ---- flows, and what does not fit together
    (
        lambda: mf.GradientFlow(NETWORK),
        TypeError,
        "functional must be an mf.EmpiricalRisk, an mf.PopulationRisk or an mf.PairwiseEnergy; got Network",
    ),
    (lambda: flow(backend="gpu"), ValueError, "backend must be one of cpu, cuda, auto, torch, torch:cuda, torch:mps; got 'gpu'"),
    (lambda: flow(dtype="float16"), ValueError, "dtype must be one of float64, float32; got 'float16'"),
    (lambda: flow(temperature=-1.0), ValueError, "temperature must be finite and >= 0; got -1.0"),
    (lambda: flow(temperature=np.inf), ValueError, "temperature must be finite and >= 0; got inf"),
    (lambda: flow(temperature="cold"), TypeError, r"a number >= 0, breakpoints \[\(t, T\), …\] or a function"),
    (lambda: flow(temperature=[1.0, 2.0]), TypeError, r"a number >= 0, breakpoints \[\(t, T\), …\] or a function"),
    (lambda: flow(temperature=[(0, 1), (1, -1)]), ValueError, r"each T of temperature=.* must be finite and >= 0"),
    (lambda: flow(temperature=[(1, 1), (0, 1)]), ValueError, "the times of .* must increase"),
    (lambda: flow(seed=2**32), ValueError, "seed must be an integer in 0 … 2³² - 1; got 4294967296"),
    (lambda: simulate(state=mf.InitialLaw(dim=3).sample(8)), ValueError, r"the particles live in d = 3 .* but x is \(n, 2\)"),
    (lambda: simulate(state=mf.InitialLaw(dim=2, outputs=3).sample(8)), ValueError, "y has 1 output.* but the state has K = 3"),
    (lambda: simulate(state=mf.State(np.ones((3, 4)), outputs=0)), ValueError, "the particles live in d = 4 input dimensions"),
    (lambda: simulate(state=mf.State(np.ones((3, 6)))), ValueError, r"3 columns of a, it is mf.State\(theta, outputs=3\)"),
    (lambda: classes(1), ValueError, "with classes 0 … 2 needs outputs K >= 3; the state has K = 1"),
    (lambda: classes(2), ValueError, "with classes 0 … 2 needs outputs K >= 3; the state has K = 2"),
    (lambda: flow().predict(STATE, X[:, :1]), ValueError, r"x must be \(n, 2\), one row a sample; got \(6, 1\)"),
    # ---- simulate
    (lambda: simulate(of=risk()), TypeError, "flow must be an mf.GradientFlow; got EmpiricalRisk"),
    (lambda: simulate(state=STATE.theta), TypeError, r"state must be an mf.State; got ndarray. Make one with mf.InitialLaw"),
    (lambda: simulate(method="rk4"), TypeError, "got 'rk4'. Did you mean mf.RK4"),
    (lambda: simulate(method=mf.Adaptive), TypeError, "pass an instance"),
    (lambda: simulate(method="leapfrog"), TypeError, "integrator must be mf.EULER, mf.HEUN, mf.RK4 or mf.Adaptive"),
    (lambda: mf.Adaptive(rtol=-1.0), ValueError, r"rtol must be a number in \[0, 1\); got -1.0"),
    (lambda: mf.Adaptive(0, 0), ValueError, "rtol and atol are both 0"),
    (lambda: simulate(dt=0.0, t_end=1.0), ValueError, 'dt must be a positive number or "auto"; got 0.0'),
    (lambda: simulate(dt=-1, t_end=1.0), ValueError, 'dt must be a positive number or "auto"; got -1'),
    (lambda: simulate(dt=0.1, t_end=float("nan")), ValueError, "t_end must be a finite flow time"),
    (
        lambda: simulate(mf.GradientFlow(risk(y=2 * (Y % 2) - 1, loss="hinge")), dt="auto", t_end=1.0),
        ValueError,
        'dt="auto" needs a loss with curvature; .hinge. has ℓ.. = 0. Give dt a number',
    ),
    # ---- observers and schedules
    (lambda: mf.Recorder("run.h5", 10), TypeError, r"a schedule is one of mf.every\(…\)"),
    (lambda: mf.Recorder("run.h5", mf.every(1), exists="overwrite"), ValueError, 'exists must be "error", "resume" or "replace"'),
    (lambda: mf.Recorder("run.h5", mf.every(1), data=X), TypeError, "data must be an mf.data.Dataset; got ndarray"),
    (lambda: mf.Recorder("run.h5", mf.every(1), checkpoint_seconds=-1), ValueError, "checkpoint_seconds must be a number >= 0"),
    (lambda: mf.Recorder("run.h5", mf.every(1), checkpoint_seconds="1"), ValueError, "checkpoint_seconds must be a number"),
    (lambda: mf.every(0), ValueError, "every: k must be an integer >= 1; got 0"),
    (lambda: mf.evenly(2.5), ValueError, "evenly: count must be an integer >= 1; got 2.5"),
    (lambda: mf.at_steps([]), ValueError, "at_steps: a non-empty list of integers >= 0"),
    (lambda: mf.at_times([0.1, float("nan")]), ValueError, "at_times: a non-empty list of finite times"),
    (lambda: mf.Series("rsik", mf.every(1)), ValueError, "no built-in series 'rsik'. Did you mean 'risk'"),
    (lambda: mf.Series("a/b", mf.every(1)), ValueError, "a series needs a name without a slash; got 'a/b'"),
    (lambda: mf.Series("mine", mf.every(1), 3.0), TypeError, "function must be callable"),
    # ---- distances
    (lambda: mf.w2(STATE, mf.InitialLaw(dim=3).sample(8)), ValueError, "dimension|columns"),
    (lambda: mf.w2(STATE, STATE, method="exakt"), ValueError, "method must be one of .* Did you mean 'exact'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "message"), BAD, ids=[str(number) for number in range(len(BAD))]
)
def test_bad_input_raises_before_anything_is_created(make, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        make()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exists", ["error", "resume", "replace"])
@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("absent/run.h5", FileNotFoundError, "the folder for run.h5 does not exist; make it first"),
        (
            "file/run.h5",
            NotADirectoryError,
            "run.h5 cannot be written there: this is a file, not a folder",
        ),
        (
            "folder",
            IsADirectoryError,
            "the name of a run's file is that of a folder; add a file name",
        ),
    ],
)
def test_a_place_that_cannot_hold_a_run_is_refused(where, error, message, exists, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=message):
        mf.simulate(
            flow(),
            STATE,
            mf.RK4,
            dt=0.1,
            t_end=0.5,
            observers=[mf.Recorder(tmp_path / where, mf.every(1), exists)],
            progress=False,
        )
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(tmp_path):
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="the folder for run.h5 is not writable"):
        simulate(path=place / "run.h5")
    assert not list(place.iterdir())


def test_a_folder_that_is_not_writable_is_refused_for_the_superuser_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="the folder for run.h5 is not writable"):
        simulate(path=tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


# ---- files


def foreign(path):
    with h5py.File(path, "w") as file:
        file["weights"] = np.arange(3)


def newer(path):
    simulate(path=path)
    with h5py.File(path, "r+") as file:
        file["parameters"].attrs["schema_version"] = 99


def shortened(share):
    def shorten(path):
        simulate(path=path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return shorten


FILES = {
    "empty": (lambda path: path.write_bytes(b""), "is not a readable HDF5 file"),
    "text": (
        lambda path: path.write_text(json.dumps({"theta": [1, 2]})),
        "is not a readable HDF5 file",
    ),
    "foreign": (
        foreign,
        "is HDF5, but not a run of meanfield: it holds weights; expected h5md, "
        "particles, parameters",
    ),
    "newer": (newer, "has schema version 99; this meanfield reads up to"),
    "header only": (shortened(0.02), "is not a readable HDF5 file, or a truncated one"),
    "half": (shortened(0.5), "is not a readable HDF5 file, or a truncated one"),
    "nearly whole": (shortened(0.99), "is not a readable HDF5 file, or a truncated one"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "use",
    [
        mf.Trajectory,
        mf.resume,
        lambda path: mf.resume(path, t_end=9.0),
        lambda path: simulate_again(path, "resume"),
        lambda path: mf.compare(path, path),
    ],
    ids=["open", "resume", "extend", "simulate", "compare"],
)
def test_a_file_that_is_no_run_is_named_and_left_as_it_is(kind, use, h5_path):
    make, message = FILES[kind]
    make(h5_path)
    before = h5_path.read_bytes()
    with pytest.raises(IncompatibleFile, match=message) as caught:
        use(h5_path)
    assert str(h5_path) in str(caught.value) and isinstance(caught.value, ValueError)
    assert h5_path.read_bytes() == before
    assert [path.name for path in h5_path.parent.iterdir()] == ["run.h5"]


def simulate_again(path, exists):
    watch = [mf.Recorder(path, mf.evenly(3), exists)]
    return mf.simulate(flow(), STATE, mf.RK4, dt=0.1, t_end=0.5, observers=watch, progress=False)


@pytest.mark.parametrize("kind", ["text", "foreign"])
def test_somebody_elses_file_is_not_overwritten_unless_asked(kind, h5_path):
    FILES[kind][0](h5_path)
    before = h5_path.read_bytes()
    with pytest.raises(FileExistsError, match="exists"):
        simulate_again(h5_path, "error")
    assert h5_path.read_bytes() == before
    simulate_again(h5_path, "replace")
    assert mf.Trajectory(h5_path).status == "finished"


def test_a_run_that_is_being_written_is_in_use(h5_path):
    from meanfield.files.durable import InUse

    def second(flow, state):
        with pytest.raises(InUse, match="another process|in use|writing"):
            simulate_again(h5_path, "replace")
        return 0.0

    watch = [mf.Recorder(h5_path, mf.evenly(3)), mf.Series("user", mf.at_steps([2]), second)]
    mf.simulate(flow(), STATE, mf.RK4, dt=0.1, t_end=0.5, observers=watch, progress=False)
    assert mf.Trajectory(h5_path).status == "finished"


def test_frames_and_series_that_are_not_there_are_named(h5_path):
    simulate(path=h5_path)
    run = mf.Trajectory(h5_path)
    with pytest.raises(IndexError, match="frame 3 was asked for; .* has 3 frames"):
        run[3]
    with pytest.raises(ValueError, match="no series 'loss' in .*; it has: displacement, energy"):
        run.series("loss")
