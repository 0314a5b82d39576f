"""What users get wrong, through Python: an error that names what was asked, found and to do, before
any work, and with no file left behind.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf

X = np.random.default_rng(0).normal(size=(20, 2))
Y = X[:, 0]
LAW = mf.InitialLaw(dim=2)
START = LAW.sample(16, seed=0)
BAD = (ValueError, TypeError, OSError, MemoryError, IndexError)


def risk(x=X, y=Y, **more):
    return mf.EmpiricalRisk(mf.Network("relu"), x, y, **more)


def go(*observers, state=START, method=mf.EULER, **more):
    times = {"dt": 0.1, "n_steps": 2, "progress": False, **more}
    return mf.simulate(mf.GradientFlow(risk()), state, method, observers=list(observers), **times)


def ranks(timeout):
    with mf.ranks(timeout):
        pass


def at(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


def written(name, text):
    Path(name).write_text(text, encoding="utf-8")
    return name


DATA = {
    "NaN": (lambda: risk(at(3, 1, np.nan)), "x has 1 NaN .* row 3, column 1"),
    "infinite": (lambda: risk(X, at(2, 0, np.inf)[:, 0]), "y has NaN or infinite .* row 2"),
    "empty": (lambda: risk(X[:0], Y[:0]), "the data set is empty"),
    "one dimension": (lambda: risk(X[:, 0]), r"x\[:, None\]"),
    "three dimensions": (lambda: risk(X[None]), r"must be \(n, d\)"),
    "shorter y": (lambda: risk(X, Y[:-1]), r"got \(19,\)"),
    "objects": (lambda: risk(X.astype(object)), "to_numpy"),
    "texts": (lambda: risk(X.astype(str)), "real numbers"),
    "complex": (lambda: risk(X + 0j), "complex128"),
    "ragged": (lambda: risk([[1, 2], [3]], Y[:2]), "x has rows of different lengths"),
    "masked": (lambda: risk(np.ma.masked_less(X, 0)), "masked values.*fill them"),
    "no y": (lambda: risk(X, None), "y is missing"),
    "classes with a gap": (lambda: risk(X, np.arange(20) - 1, loss="softmax"), "classes 0 … K-1"),
    "classes as floats": (lambda: risk(loss="softmax"), "integer classes"),
    "labels 0 and 1": (lambda: risk(X, 1 * (Y > 0), loss="logistic"), r"2\*y - 1"),
    "negative weights": (lambda: risk(weights=-np.ones(20)), "weights must be finite and >= 0"),
    "weights of another n": (lambda: risk(weights=np.ones(19)), "one for each row of x"),
    "no weight": (lambda: risk(weights=np.zeros(20)), "not all 0"),
    "no such data set": (lambda: mf.data.get("mnist"), "Known: teacher_student"),
    "no such option": (lambda: mf.data.get("digits", clases=[0]), "Did you mean 'classes'"),
    "no rows": (lambda: mf.data.teacher_student(0, 3), "n must be an integer >= 1"),
    "share above 1": (lambda: mf.data.get("digits", corrupt=2), r"corrupt must .*\[0, 1\]; got 2"),
    "share as a word": (lambda: mf.data.get("digits", corrupt="half"), "corrupt must .*'half'"),
    "share NaN": (lambda: mf.data.get("digits", corrupt=np.nan), "corrupt must be finite; got nan"),
    "seed NaN": (lambda: mf.data.get("digits", seed=np.nan), "digits: seed must be finite"),
    "corrupt of a task": (
        lambda: mf.data.get("teacher_student", n=5, dim=2, corrupt=0.5),
        "no option 'corrupt'. Its options: n, dim",
    ),
}
TABLES = {
    "missing": (lambda: mf.data.load("no.csv"), "no data file 'no.csv'"),
    "empty": (lambda: mf.data.load(written("t.csv", "")), "t.csv is empty"),
    "header alone": (lambda: mf.data.load(written("t.csv", "a,b,y\n")), "header but no rows"),
    "ragged": (lambda: mf.data.load(written("t.csv", "1,2,3\n4,5\n")), "line 2: 2 cells"),
    "a word": (lambda: mf.data.load(written("t.csv", "a,y\n1,2\none,3\n")), "line 3.*'one'"),
    "NaN": (lambda: mf.data.load(written("t.csv", "a,y\n1,2\nnan,3\n")), "line 3.*fill them"),
    "constant column": (
        lambda: mf.data.load(written("t.csv", "a,b,y\n1,2,3\n1,3,3\n1,4,5\n"), standardise=True),
        "1 constant columns .* 0 \\(a\\).*drop",
    ),
}
SETTINGS = {
    "ridge below 0": (lambda: risk(ridge=-1), "ridge must be a finite number >= 0; got -1"),
    "ridge NaN": (lambda: risk(ridge=np.nan), "ridge must be .* got nan"),
    "ridge as text": (lambda: risk(ridge="1"), "ridge must be .* got '1'"),
    "loss": (lambda: risk(loss="sqared"), "Did you mean 'squared'"),
    "reduction": (lambda: risk(reduction="avg"), '"mean" or "sum"'),
    "activation": (lambda: mf.Network("rellu"), "Did you mean 'relu'"),
    "trainable": (lambda: mf.Network("relu", trainable=("a", "v")), "subset of"),
    "scaling": (lambda: mf.Network("relu", 1.0), "mf.MEAN_FIELD"),
    "γ NaN": (lambda: mf.Scaling(np.nan), "gamma must be a finite number; got nan"),
    "γ as text": (lambda: mf.Scaling("0.5"), "gamma must be a finite number; got '0.5'"),
    "α zero": (lambda: mf.Scaling(1, 0), "alpha must be positive; got 0"),
    "dim zero": (lambda: mf.InitialLaw(dim=0), "dim must be an integer >= 1"),
    "law": (lambda: mf.InitialLaw(dim=2, a="radem"), "rademacher, normal, zero"),
    "std below 0": (lambda: mf.InitialLaw(dim=2, w_std=-1), "w_std must be .* got -1"),
    "m zero": (lambda: LAW.sample(0), "m must be an integer >= 1; got 0"),
    "m odd": (lambda: mf.InitialLaw(dim=2, symmetric=True).sample(3), "must be even; got 3. Use 4"),
    "m 10¹²": (lambda: LAW.sample(10**12), "6.4e\\+04 GB; .* are available"),
    "seed below 0": (lambda: LAW.sample(4, seed=-1), "seed must lie in 0 … 4294967295"),
    "seed not whole": (lambda: LAW.sample(4, seed=1.5), "seed must be an integer"),
    "dtype": (lambda: mf.GradientFlow(risk(), dtype="float16"), "float64, float32"),
    "backend": (lambda: mf.GradientFlow(risk(), backend="gpu"), "cpu, cuda, auto"),
    "flow of a network": (lambda: mf.GradientFlow(mf.Network()), "mf.EmpiricalRisk"),
    "temperature": (lambda: mf.GradientFlow(risk(), temperature=-1), "temperature must be"),
    "reaction": (lambda: mf.GradientFlow(risk(), reaction=-1), "reaction"),
    "batch beyond n": (lambda: mf.MiniBatch(risk(), 21), "at most n = 20"),
    "batch zero": (lambda: mf.MiniBatch(risk(), 0), "size must be an integer >= 1"),
    "fresh inputs": (lambda: mf.OnlineRisk(mf.Network(), START, inputs="uniform"), '"sphere"'),
    "no energy": (lambda: mf.PairwiseEnergy(), "give potential="),
    "tolerance": (lambda: mf.Adaptive(rtol=-1), r"rtol must be a number in \[0, 1\)"),
    "friction": (lambda: mf.HeavyBall(-1), "friction must be a number >= 0"),
    "sphere": (lambda: mf.Sphere("euler"), "method must be an mf.RungeKutta"),
    "jumps alone": (lambda: mf.GradientFlow(risk(), jumps=True), "pass reaction="),
    "centred": (lambda: mf.Network(centred="yes"), "centred must be True or False; got 'yes'"),
    "deep overflows": (
        lambda: mf.deep(2, (8, 8), w_std=1e300),
        "not finite at the start with w_std = 1e\\+300, .*smaller",
    ),
    "widths": (lambda: mf.deep(2, (8, 0)), "integer >= 1"),
    "parametrisation": (lambda: mf.deep(2, (8,), parametrisation="nkt"), "Did you mean 'ntk'"),
    "timeout zero": (lambda: ranks(0), "timeout must be a number of seconds > 0; got 0"),
    "timeout as text": (lambda: ranks("60"), "timeout must be .* got '60'"),
    "timeout infinite": (lambda: ranks(np.inf), "timeout must be .* got inf"),
}
PARTICLES = {
    "NaN": (lambda: mf.State(np.full((4, 4), np.nan)), "4 of 4 particles"),
    "one dimension": (lambda: mf.State(np.ones(4)), r"theta\[:, None\]"),
    "none": (lambda: mf.State(np.ones((0, 4))), "at least 1"),
    "outputs": (lambda: mf.State(np.ones((2, 4)), outputs=4), "got p = 4"),
    "mass below 0": (lambda: mf.State(np.ones((2, 4)), mass=[1.5, -0.5]), "non-negative"),
    "masses of 2": (lambda: mf.State(np.ones((2, 4)), mass=[1.0, 1.0]), "sum to 1; got 2"),
    "another d": (lambda: go(state=mf.InitialLaw(dim=3).sample(4)), "x is \\(n, 2\\)"),
    "an array": (lambda: go(state=START.theta), "must be an mf.State; got ndarray"),
    "W2 of two spaces": (lambda: mf.w2(np.ones((3, 2)), np.ones((3, 3))), "same number of columns"),
    "W2 of NaN": (lambda: mf.w2(np.full((3, 2), np.nan), np.ones((3, 2))), "earlier frame"),
    "W2 method": (lambda: mf.w2(X, X, method="exakt"), "Did you mean 'exact'"),
}
TIMES = {
    "method as text": (lambda: go(method="euler"), "Did you mean mf.EULER"),
    "dt zero": (lambda: go(dt=0), "dt must be a positive number"),
    "dt NaN": (lambda: go(dt=np.nan), "dt must be a positive number"),
    "dt as a word": (lambda: go(dt="fast"), "got 'fast'"),
    "dt beyond counting": (lambda: go(dt=1e-300, n_steps=None, t_end=1.0), "1e\\+300 steps"),
    "both ends": (lambda: go(t_end=1.0), "give either t_end"),
    "no end": (lambda: go(n_steps=None), "give either t_end"),
    "n_steps zero": (lambda: go(n_steps=0), "n_steps must be an integer >= 1"),
    "t_end past": (lambda: go(n_steps=None, t_end=-1), "after the state's t = 0"),
    "t_end infinite": (lambda: go(n_steps=None, t_end=np.inf), "must be a finite flow time"),
    "every 0": (lambda: mf.every(0), "k must be an integer >= 1"),
    "steps below 0": (lambda: mf.at_steps((-1, 2)), "integers >= 0"),
    "times NaN": (lambda: mf.at_times((np.nan,)), "finite times"),
}


def run():
    """A finished run in run.h5."""
    if not Path("run.h5").exists():
        go(mf.Recorder("run.h5", mf.every(1)))
    return "run.h5"


def altered(alter):
    """A copy of the run after alter(its bytes)."""
    Path("copy.h5").write_bytes(alter(Path(run()).read_bytes()))
    return mf.Trajectory("copy.h5")


FILES = {
    "observer as a path": (lambda: go("run.h5"), "got 'run.h5'"),
    "two recorders": (
        lambda: go(mf.Recorder("a.h5", mf.every(1)), mf.Recorder("b.h5", mf.every(1))),
        "one run has one Recorder",
    ),
    "no folder": (lambda: go(mf.Recorder("none/a.h5", mf.every(1))), "make it first"),
    "a folder": (lambda: go(mf.Recorder(".", mf.every(1))), "add a file name"),
    "no schedule": (lambda: mf.Recorder("a.h5", 10), "a schedule is one of"),
    "exists": (lambda: go(mf.Recorder("a.h5", mf.every(1), exists="no")), '"error", "resume"'),
    "series": (lambda: go(mf.Series("kernel_drfit", mf.every(1))), "Did you mean 'kernel_drift'"),
    "no file": (lambda: mf.Trajectory("no.h5"), "no run at no.h5"),
    "no run to resume": (lambda: mf.resume("no.h5"), "no run at no.h5"),
    "foreign": (lambda: mf.Trajectory(written("a.h5", "hello")), "not a readable HDF5 file"),
    "truncated": (lambda: altered(lambda b: b[: len(b) // 2]), "truncated"),
    "it exists": (lambda: go(mf.Recorder(run(), mf.every(1))), 'exists="replace"'),
    "another run": (
        lambda: go(mf.Recorder(run(), mf.every(1), exists="resume"), dt=0.2),
        "dt 0.2, in the file 0.1",
    ),
    "diagnostic": (lambda: mf.diagnose(run(), ["kernel_drfit"]), "Did you mean 'kernel_drift'"),
    "executor": (
        lambda: mf.diagnose(run(), ["w2"], executor=3),
        r"client.get_executor\(\).* got int",
    ),
    "a client": (lambda: mf.diagnose(run(), ["w2"], executor=run), "Executor, .* got function"),
    "workers zero": (lambda: mf.diagnose(run(), ["w2"], workers=0), "integer >= 1; got 0"),
    "series of an observer": (
        lambda: go(mf.Series("lambda_min", mf.every(1))),
        r"no built-in series 'lambda_min'\. It is a series of the observer ntk\.LayerMinima",
    ),
    "no function": (lambda: mf.Series("mine", mf.every(1)), r"or pass function\(flow, state\)"),
    "a number as function": (lambda: mf.Series("mine", mf.every(1), 3), "must be callable"),
    "W2 beside": (lambda: mf.W2(mf.every(1), workers=0), "workers must be an integer >= 1; got 0"),
    "an earlier end": (
        lambda: go(mf.Recorder(run(), mf.every(1), exists="resume"), n_steps=1),
        r"t_end, which is earlier .*not cut: ask for 0.2 or more.*at\(0.1\)",
    ),
    "resume to a word": (lambda: mf.resume(run(), t_end="2"), "finite flow time.* got '2'"),
    "frame": (lambda: mf.Trajectory(run())[99], "has 3 frames"),
    "time": (lambda: mf.Trajectory(run()).at(99.0), "from t = 0 to 0.2"),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in (
        ("data", DATA), ("table", TABLES), ("settings", SETTINGS), ("particles", PARTICLES),
        ("times", TIMES), ("files", FILES),
    )
    for name, case in cases.items()
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_and_leaves_nothing_behind(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work, words = CASES[name]
    with pytest.raises(BAD, match=words):
        work()
    made = {"t.csv", "a.h5", "run.h5", "copy.h5"}  # the test's own, of which a.h5 is no folder
    assert set(os.listdir()) <= made
