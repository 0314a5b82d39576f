"""Every CUDA kernel against the CPU backend, at tiny sizes: in CUDA's simulator
(tests/helpers/cuda_simulator.py), or on a GPU.

Each check is a function named as a sentence, with its cases in CHECKS; tests/backends/test_cuda.py
runs them.
"""

from contextlib import contextmanager
from math import exp
from unittest import mock

import numpy as np
import pair_formulas
from ranks_in_memory import together

import meanfield as mf
import ntk
from meanfield import backends, noise
from meanfield.backends.cuda import backend as cuda
from meanfield.backends.cuda import compiler, memory
from meanfield.backends.cuda import noise as cuda_noise
from meanfield.formulas import activations, losses
from meanfield.functionals import population as functionals_population
from meanfield.functionals.risk import RiskField
from meanfield.stepping.march import March

CHECKS = {}


def check(slow=False, **cases):
    """Registers a function under "name[case]" for every case given as name=arguments."""

    def register(function):
        for case, arguments in (cases or {"": ()}).items():
            CHECKS[f"{function.__name__}[{case}]" if case else function.__name__] = (
                slow,
                function,
                arguments,
            )
        return function

    return register


def tolerance(dtype, terms):
    """Relative to sums of absolute values. float64: 1e-12 is stated, some thousand units. float32:
    both sides sum at most 1024 terms in the dtype and make each from d + 10 operations and two
    functions of 4 units: half a unit each, twice.
    """
    return 1e-12 if dtype == "float64" else 2 * 6e-8 * (min(terms, 1024) + 30)


class Pair:
    """One problem on the CPU and on the device: m particles of unequal masses, n samples, K
    outputs.
    """

    def __init__(self, activation, d, K, m=9, n=11, dtype="float64", trainable=("a", "w", "b")):
        rng = np.random.default_rng([d, K, m, n])
        network = mf.Network(activation, trainable=trainable)
        self.dtype, self.m, self.n = dtype, m, n
        self.sides = backends.make("cpu", network, d, K, dtype), cuda.CUDA(network, d, K, dtype)
        mass = rng.uniform(0.5, 1.5, m)
        self.mass = mass / mass.sum()
        self.theta, self.u = (rng.normal(size=(m, K + d + 1)).astype(dtype) for _ in range(2))
        self.x, self.r = (
            (rng.normal(size=(n, d)) / np.sqrt(d)).astype(dtype),
            rng.normal(size=(n, K)).astype(dtype),
        )
        self.held = [
            (
                side,
                side.upload(self.theta),
                side.upload(self.u),
                side.weights(self.mass),
                side.samples(self.x.astype(float)),
            )
            for side in self.sides
        ]

    def both(self, compute):
        return [np.asarray(compute(*held), dtype=float) for held in self.held]

    def same(self, compute, scale, terms):
        expected, found = self.both(compute)
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=scale * tolerance(self.dtype, terms)
        )

    def all_kernels(self):
        """Terms are of order 1, |a| |σ| <= 10, times |x| or |u| <= 30: the scales of
        tests/backends/test_backend_cpu.py.
        """
        self.same(lambda b, theta, u, w, x: b.download(b.mean_feature(theta, w, x)), 30, self.m)
        self.same(
            lambda b, theta, u, w, x: b.download(b.pull_back(theta, x, b.upload(self.r), 0.3)),
            30 * self.n,
            self.n,
        )
        self.same(lambda b, theta, u, w, x: b.download(b.push_forward(theta, w, x, u)), 30, self.m)


NAMES = list(activations.TABLE)
EVERY = [*NAMES, "own"]


def own():
    """An activation as a user writes it, with a formula of its own and a closure."""
    from math import exp

    width = 0.7

    def bump(z):
        return exp(-width * z * z)

    def value(z):
        return z * bump(z)

    def slope(z):
        return (1.0 - 2.0 * width * z * z) * bump(z)

    return mf.Activation("own", value, slope)


def activation(name):
    return own() if name == "own" else name


@check(**{name: (name,) for name in EVERY})
def every_activation_is_that_of_the_cpu(name):
    Pair(activation(name), d=3, K=1, m=5, n=7).all_kernels()


@check(
    slow=True,
    **{
        f"{name}-K{K}-{dtype}": (name, K, dtype)
        for name in EVERY
        for K in (1, 2)
        for dtype in ("float64", "float32")
    },
)
def every_activation_is_that_of_the_cpu_for_more_outputs_and_in_single_precision(name, K, dtype):
    Pair(activation(name), d=3, K=K, m=5, n=7, dtype=dtype).all_kernels()


SHAPES = {
    f"d{d}-K{K}": (d, K)
    for d, K in ((1, 1), (2, 1), (6, 1), (3, 2), (3, 3), (3, 5), (20, 1), (20, 3))
}


@check(**SHAPES)
def every_shape_of_kernel_is_that_of_the_cpu(d, K):
    pair = Pair("tanh", d=d, K=K)
    assert pair.sides[1].fused == (d < 20)
    pair.all_kernels()


@check(**{f"d{d}-K{K}": (d, K) for d, K in ((3, 1), (3, 3), (13, 1), (20, 1))})
def single_precision_is_that_of_the_cpu_to_its_rounding(d, K):
    Pair("tanh", d=d, K=K, dtype="float32").all_kernels()


@check()
def several_tiles_of_particles_and_samples_are_put_together():
    """m = 300 particles are two slabs, n = 140 samples two tiles of every kernel."""
    pair = Pair("tanh", d=1, K=1, m=300, n=140)
    assert cuda.slabs(300) == (256, 2)
    pair.all_kernels()


@check()
def many_samples_are_done_in_several_launches():
    before, cuda.PARTIAL_BYTES = cuda.PARTIAL_BYTES, 8 * 128
    try:
        Pair("relu", d=1, K=1, m=5, n=150).all_kernels()
    finally:
        cuda.PARTIAL_BYTES = before


@check(**{name: (name,) for name in ("relu", "tanh")})
def two_particles_a_thread_are_those_of_one(name):
    before, cuda.FEW = cuda.FEW, 3
    try:
        pair = Pair(name, d=2, K=1, m=9)
        assert (
            pair.sides[1]._shape(9) == (2, 1)
            and pair.sides[1]._shape(5) == (1, 1)
            and pair.sides[1]._shape(2) == (1, 4)
        )
        pair.all_kernels()
    finally:
        cuda.FEW = before


@check()
def one_thread_a_particle_is_four():
    before, cuda.FEW = cuda.FEW, 5
    try:
        Pair("tanh", d=2, K=1, m=9).all_kernels()
        Pair("tanh", d=3, K=3, m=9).all_kernels()
    finally:
        cuda.FEW = before


@check(aw=("a", "w"), b=("b",))
def frozen_columns_do_not_move(*trainable):
    for d, K in ((3, 1), (3, 3)):
        pair = Pair("tanh", d=d, K=K, m=5, n=7, trainable=trainable)
        pair.same(
            lambda b, theta, u, w, x: b.download(b.pull_back(theta, x, b.upload(pair.r), 0.3)),
            30 * 7,
            7,
        )
        columns = mf.Network(trainable=trainable).trainable_columns(d, K)
        side, theta, _, _, x = pair.held[1]
        assert np.all(
            side.download(side.pull_back(theta, x, side.upload(pair.r), 0.3))[:, ~columns] == 0.0
        )


@check(float64=("float64",), float32=("float32",))
def stages_are_added_and_arguments_stay(dtype):
    pair = Pair("relu", d=2, K=1, dtype=dtype)
    for coefficients in ([0.5], [0.5, 0.0, -2.0], [0.1] * 6, [0.1] * 9):
        pair.same(
            lambda b, theta, u, w, x: b.download(
                b.combine(theta, coefficients, [u] * len(coefficients))
            ),
            30,
            10,
        )
    side, theta, u, *_ = pair.held[1]
    assert side.combine(theta, [0.0], [u]) is theta
    np.testing.assert_array_equal(side.download(theta), pair.theta)
    np.testing.assert_array_equal(side.download(u), pair.u)


@check(m1=(1,), m9=(9,), m300=(300,))
def norms_are_those_of_the_cpu(m):
    pair = Pair("relu", d=1, K=1, m=m, n=3, trainable=("w",))
    for only in (False, True):
        pair.same(lambda b, theta, u, w, x: float(b.norm(theta, w, only)), 30, m)
    pair.same(lambda b, theta, u, w, x: float(b.advance(theta, 0.5, u, w)[1]), 30, m)
    pair.same(lambda b, theta, u, w, x: b.download(b.advance(theta, 0.5, u, w)[0]), 30, 10)


@check()
def memory_is_handed_on_when_nobody_holds_it():
    side, theta, u, *_ = Pair("relu", d=2, K=1).held[1]
    first = side.combine(theta, [1.0], [u])
    data = first.data
    assert side.combine(theta, [1.0], [u]).data is not data
    del first
    taken = [side.combine(theta, [1.0], [u]) for _ in range(2)]
    assert any(held.data is data for held in taken)


@check()
def not_a_number_comes_through():
    pair = Pair("relu", d=2, K=1)
    theta = pair.theta.copy()
    theta[3, 1] = np.nan
    side, _, _, weight, x = pair.held[1]
    assert np.isnan(side.download(side.mean_feature(side.upload(theta), weight, x))).all()
    assert np.isnan(float(side.norm(side.upload(theta), weight)))


ENERGIES = {
    "both": ((pair_formulas.WELL, pair_formulas.GAUSSIAN), True),
    "no-self-pairs": ((pair_formulas.WELL, pair_formulas.COULOMB), False),
    "potential": ((pair_formulas.WELL, None), True),
    "interaction": ((None, pair_formulas.GAUSSIAN), True),
    "partly-assigned": ((pair_formulas.WALL, pair_formulas.CONTACT), False),
}
PAIR_CASES = {
    f"{kind}-p{p}": (kind, p, 70, "float64")
    for kind, p in (("both", 2), ("both", 5), ("no-self-pairs", 2))
}
PAIR_CASES |= {kind: (kind, 2, 40, "float64") for kind in ("potential", "interaction")}
PAIR_CASES |= {"both-float32": ("both", 2, 40, "float32"), "both-p40": ("both", 40, 33, "float64")}
PAIR_CASES |= {f"partly-assigned-p{p}": ("partly-assigned", p, 33, "float64") for p in (2, 40)}


@check(**PAIR_CASES)
def pairs_of_particles_are_those_of_the_cpu(kind, p, m, dtype):
    """m = 70 are three blocks of 32 targets; terms of the size of |x|⁴. float32: as in `tolerance`."""
    formulas, self_pairs = ENERGIES[kind]
    rng = np.random.default_rng([p, m])
    mass = rng.uniform(0.5, 1.5, m)
    state = mf.State(rng.normal(size=(m, p)).astype(dtype), outputs=0, mass=mass / mass.sum())
    energy = mf.PairwiseEnergy(*formulas, self_pairs=self_pairs)
    flows = [mf.GradientFlow(energy, backend=backend, dtype=dtype) for backend in ("cpu", "cuda")]
    for name in ("velocity", "first_variation", "energy"):
        expected, found = (getattr(flow, name)(state) for flow in flows)
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=tolerance(dtype, m) * np.abs(expected).max()
        )


@check()
def pairs_by_one_thread_a_target_are_those_of_four():
    """And over two tiles of sources. The order of the sums differs: 150 terms of order one."""
    before, found = cuda.FEW, []
    try:
        state = mf.State(np.random.default_rng(4).normal(size=(150, 1)), outputs=0)
        flow = mf.GradientFlow(mf.PairwiseEnergy(None, pair_formulas.GAUSSIAN), backend="cuda")
        for cuda.FEW in (151, 150):
            found.append(flow.velocity(state))
    finally:
        cuda.FEW = before
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-13)


@check()
def pairs_step_as_those_of_the_cpu():
    state = mf.State(np.random.default_rng(3).normal(size=(9, 2)), outputs=0)
    energy = mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.GAUSSIAN)
    flows = [mf.GradientFlow(energy, backend=name) for name in ("cpu", "cuda")]
    same_end(
        [mf.simulate(flow, state, mf.HEUN, dt=0.1, n_steps=2, progress=False) for flow in flows]
    )


def population(
    activation, d=3, K=1, m=5, teachers=3, trainable=("a", "w"), ridge=0.1, dtype="float64"
):
    """(risk, state) of unequal masses on both sides. d = 3: tests of the CPU compile the same."""
    rng = np.random.default_rng([d, K, m, 1])

    def particles(count):
        theta = np.column_stack(
            [rng.normal(size=(count, K)), rng.normal(size=(count, d)) / np.sqrt(d), np.zeros(count)]
        )
        mass = rng.uniform(0.5, 1.5, count)
        return mf.State(theta.astype(dtype), K, mass / mass.sum())

    network = mf.Network(activation, mf.Scaling(0.75), trainable)
    return mf.PopulationRisk(network, particles(teachers), ridge), particles(m)


def neurons_as_on_the_cpu(risk, state, dtype="float64"):
    """Terms |A||v||w| of order one, but for s⁻¹ before the teacher's: the sum of its absolute
    values is that of ν. float32: the pair's formula has 20 operations and the vectors are rounded
    to begin with, as in `tolerance`; R and F are float64 anyway.
    """
    fields = [
        mf.GradientFlow(risk, backend=backend, dtype=dtype).on_device(state)
        for backend in ("cpu", "cuda")
    ]
    thetas = [  # so that all that is asked shares its sums
        mf.Particles.of(state, field.backend) for field in fields
    ]
    teacher, s = risk.teacher_state, risk.network.scaling.output_scale(state.m)
    size = (np.abs(state.a).max(axis=1) * state.mass).sum() + (
        np.abs(teacher.a).max(axis=1) * teacher.mass
    ).sum() / s
    longest = max(
        1.0,
        *(np.linalg.norm(one.w, axis=1).max() for one in (state, teacher)),
        np.abs(state.a).max(),
    )
    scale = max(1.0, size) * longest**4  # of square: K = q q' + 2c², ∇K a power less, times |a|
    for name in ("velocity", "potential", "energy", "value"):
        expected, found = (
            getattr(field, name)(theta) for field, theta in zip(fields, thetas, strict=True)
        )
        if name == "velocity":
            expected, found = (
                field.backend.download(v)
                for field, v in zip(fields, (expected, found), strict=True)
            )
        exact = dtype == "float64" or name != "velocity"
        atol = scale * (1e-12 if exact else tolerance(dtype, state.m))
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


WITH_PAIRS = [name for name, sigma in activations.TABLE.items() if sigma.pair]


@check(**{name: (name,) for name in WITH_PAIRS if name != "leaky_relu"})
@check(slow=True, leaky_relu=("leaky_relu",))
def neurons_of_every_activation_are_those_of_the_cpu(name):
    neurons_as_on_the_cpu(*population(name))


@check(gelu=("gelu",))
@check(slow=True, relu=("relu",), linear=("linear",))
def neurons_of_two_outputs_are_those_of_the_cpu(name):
    neurons_as_on_the_cpu(*population(name, d=3, K=2))


@check(w=("w",))
@check(slow=True, a=("a",))
def neurons_keep_their_frozen_columns(*trainable):
    risk, state = population("relu", trainable=trainable)
    neurons_as_on_the_cpu(risk, state)
    columns = risk.network.trainable_columns(3, 1)
    assert not mf.GradientFlow(risk, backend="cuda").velocity(state)[:, ~columns].any()


@check(d17=(17, 1))
@check(slow=True, d1=(1, 1), d17K2=(17, 2))
def neurons_of_any_dimension_are_those_of_the_cpu(d, K):
    """d = 17 are loops, d = 1 is written out."""
    neurons_as_on_the_cpu(*population("gelu", d=d, K=K))


@check(relu=("relu",))
@check(slow=True, gelu=("gelu",), sin=("sin",))
def neurons_in_single_precision_are_those_of_the_cpu_to_its_rounding(name):
    risk, state = population(name, d=3, dtype="float32")
    neurons_as_on_the_cpu(risk, state, "float32")


@check()
def neurons_of_several_tiles_and_blocks_are_put_together():
    """m = 150 are two tiles of 128 sources and five blocks of 32 targets; by one thread a target,
    two blocks.
    """
    risk, state = population("relu", d=1, m=150)
    neurons_as_on_the_cpu(risk, state)
    before, cuda.FEW = cuda.FEW, 100
    try:
        neurons_as_on_the_cpu(risk, state)
    finally:
        cuda.FEW = before


@check(relu=("relu", "float64", 0.1))
@check(slow=True, auto=("gelu", "float64", "auto"), float32=("erf", "float32", 0.1))
def neurons_step_as_those_of_the_cpu(name, dtype, dt):
    """float32: two steps of sums of ten terms of order one. "auto": through the largest eigenvalue
    of the tangent kernel.
    """
    risk, state = population(name, dtype=dtype)
    if dt == "auto":
        with mock.patch.object(functionals_population, "SAMPLES", 8):
            flows = [mf.GradientFlow(risk, backend=side, dtype=dtype) for side in ("cpu", "cuda")]
            ends = [
                mf.simulate(flow, state, mf.EULER, dt=dt, n_steps=2, progress=False)
                for flow in flows
            ]
    else:
        flows = [mf.GradientFlow(risk, backend=side, dtype=dtype) for side in ("cpu", "cuda")]
        ends = [
            mf.simulate(flow, state, mf.HEUN, dt=dt, n_steps=2, progress=False) for flow in flows
        ]
    same_end(ends, atol=1e-5 if dtype == "float32" else 1e-10 if dt == "auto" else 1e-12)


LOSSES = {"squared": 1, "huber": 2, "logistic": 1, "hinge": 2, "softmax": 3, "own": 1}


def own_loss():
    """ℓ = log cosh(f - y), as a user writes it."""
    from math import exp, log1p, tanh

    def value(f, y):
        r = abs(f - y)
        return r + log1p(exp(-2.0 * r)) - 0.6931471805599453

    def slope(f, y):
        return tanh(f - y)

    return mf.Loss("own", value, slope)


def labels(loss, n, K, rng):
    """What a loss wants to see: numbers, signs or classes."""
    if loss == "softmax":
        return rng.integers(0, K, n)
    y = rng.normal(size=(n, K))
    return np.sign(y) if loss in ("logistic", "hinge") else y


@check(
    **{
        f"{loss}-K{K}-{dtype}": (loss, K, dtype)
        for loss, K in LOSSES.items()
        for dtype in ("float64", "float32")
    }
)
def every_loss_is_that_of_the_cpu(loss, K, dtype):
    """n = 300 samples are two slabs. Features and totals are float64 in any dtype; slopes are
    rounded to it once.
    """
    pair, rng = Pair("relu", d=1, K=K, m=1, n=1, dtype=dtype), np.random.default_rng([8, K])
    given = own_loss() if loss == "own" else losses.get(loss)
    F, y = 3 * rng.normal(size=(300, K)), labels(loss, 300, K, rng)
    held = [(side, side.labels(losses.check_labels(given, y, 300))) for side in pair.sides]
    features = [F, pair.sides[1].pool.fill(np.ascontiguousarray(F.T))]
    totals = [
        float(side.total(given, f, target, 2.5))
        for (side, target), f in zip(held, features, strict=True)
    ]
    np.testing.assert_allclose(totals[1], totals[0], rtol=1e-13)
    found = [
        side.download(side.slopes(given, f, target, 2.5, 0.1))
        for (side, target), f in zip(held, features, strict=True)
    ]
    assert found[1].dtype == dtype
    np.testing.assert_allclose(
        found[1], found[0], rtol=1e-13 if dtype == "float64" else 6e-8, atol=1e-16
    )


@check(
    **{
        f"{loss}-{dtype}": (loss, LOSSES[loss], dtype)
        for loss in ("squared", "softmax")
        for dtype in ("float64", "float32")
    }
)
def every_weight_of_a_sample_counts_as_on_the_cpu(loss, K, dtype):
    """As above; a slope is rounded to the dtype before and after its weight."""
    pair, rng = Pair("relu", d=1, K=K, m=1, n=1, dtype=dtype), np.random.default_rng([9, K])
    given, weights = losses.get(loss), rng.random(150)
    F, y = (
        3 * rng.normal(size=(150, K)),
        losses.check_labels(losses.get(loss), labels(loss, 150, K, rng), 150),
    )
    held = [(side, side.labels(y), side.labels(weights)) for side in pair.sides]
    features = [F, pair.sides[1].pool.fill(np.ascontiguousarray(F.T))]
    totals = [
        float(side.total(given, f, target, 2.5, w))
        for (side, target, w), f in zip(held, features, strict=True)
    ]
    np.testing.assert_allclose(totals[1], totals[0], rtol=1e-13)
    pairs = zip(held, features, strict=True)
    found = [
        side.download(side.slopes(given, f, target, 2.5, 0.1, w)) for (side, target, w), f in pairs
    ]
    np.testing.assert_allclose(
        found[1], found[0], rtol=1e-13 if dtype == "float64" else 1.8e-7, atol=1e-16
    )


def run(
    loss, K, integrator, d=3, dtype="float64", ridge=0.1, temperature=0.0, reaction=None, **simulate
):
    """The same flow on both backends: (CPU's end, device's end)."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6, d)), labels(loss, 6, K, rng)
    mass, reaction = rng.uniform(0.5, 1.5, 7), reaction or {}
    state = mf.State(rng.normal(size=(7, K + d + 1)), outputs=K, mass=mass / mass.sum())
    if "jumps" in reaction:
        state = mf.State(state.theta, outputs=K)
    risk = mf.EmpiricalRisk(
        mf.Network("tanh", mf.Scaling(0.75)),
        x,
        y,
        own_loss() if loss == "own" else loss,
        ridge=ridge,
    )
    flows = [
        mf.GradientFlow(risk, temperature, backend=backend, dtype=dtype, **reaction)
        for backend in ("cpu", "cuda")
    ]
    return [mf.simulate(flow, state, integrator, progress=False, **simulate) for flow in flows]


def same_end(ends, atol=1e-12):
    np.testing.assert_allclose(ends[1].theta, ends[0].theta, rtol=0, atol=atol)
    np.testing.assert_allclose(ends[1].mass, ends[0].mass, rtol=0, atol=atol)
    assert (ends[0].step, ends[0].theta.dtype) == (ends[1].step, ends[1].theta.dtype)
    assert abs(ends[0].t - ends[1].t) <= atol * ends[0].t


@check(**{loss: (loss, K) for loss, K in LOSSES.items()})
def whole_steps_of_every_loss_are_those_of_the_cpu(loss, K):
    same_end(run(loss, K, mf.HEUN, dt=0.1, n_steps=2))


@check(number=(0.5,), nesterov=("nesterov",))
def whole_steps_of_a_heavy_ball_are_those_of_the_cpu(friction):
    same_end(run("squared", 1, mf.HeavyBall(friction), dt=0.1, n_steps=2))


@check(
    masses=({"reaction": 3.0},),
    jumps=({"reaction": 30.0, "jumps": True, "jitter": 0.1},),
    resampled=({"reaction": 30.0, "resample": 0.9, "jitter": 0.1},),
)
def whole_steps_of_a_reaction_are_those_of_the_cpu(reaction):
    same_end(run("squared", 1, mf.EULER, reaction=reaction, dt=0.1, n_steps=2))


def bump(theta, x):
    return theta[0] * exp(-0.5 * ((x[0] - theta[1]) ** 2 + (x[1] - theta[2]) ** 2))


def grad_bump(theta, x, out):
    height = exp(-0.5 * ((x[0] - theta[1]) ** 2 + (x[1] - theta[2]) ** 2))
    out[0] = height
    out[1] = theta[0] * height * (x[0] - theta[1])
    out[2] = theta[0] * height * (x[1] - theta[2])


@check(float64=("float64", 1e-12), float32=("float32", 1e-5))
def features_of_a_user_s_own_are_those_of_the_cpu(dtype, allowed):
    """Mean features, pull-back, push-forward and heights; centred, with a frozen column and a ridge."""
    rng = np.random.default_rng(8)
    mass = rng.uniform(0.5, 1.5, 7)
    feature = mf.Feature(bump, grad_bump, columns={"a": (), "c": 2}, dim=2)
    state = feature.state(rng.normal(size=(7, 3)), mass / mass.sum())
    network = mf.Network(feature, mf.Scaling(0.75), trainable=("c",), centred=True)
    risk = mf.EmpiricalRisk(network, rng.normal(size=(6, 2)), rng.normal(size=6), ridge=0.1)
    flows = [mf.GradientFlow(risk, backend=backend, dtype=dtype) for backend in ("cpu", "cuda")]
    ends = [mf.simulate(f, state, mf.HEUN, dt=0.5, n_steps=2, progress=False) for f in flows]
    same_end(ends, allowed)
    for of in ("predict", "velocity", "first_variation"):
        found = [getattr(flow, of)(end) for flow, end in zip(flows, ends, strict=True)]
        np.testing.assert_allclose(found[1], found[0], rtol=0, atol=allowed)
    fields = [flow.on_device(end) for flow, end in zip(flows, ends, strict=True)]
    particles = [mf.Particles.of(ends[0], field.backend) for field in fields]
    v = rng.normal(size=(6, 1))
    products = [f.tangent_product(p, v) for f, p in zip(fields, particles, strict=True)]
    np.testing.assert_allclose(products[1], products[0], rtol=0, atol=allowed)


@check()
def whole_steps_of_finite_volumes_are_those_of_the_cpu():
    risk = mf.EmpiricalRisk(mf.Network("relu"), [[-0.7], [0.2], [0.6]], [1.0, 0.0, 0.5])
    ends = [
        mf.simulate(
            mf.GradientFlow(risk, backend=backend),
            mf.limits.circle(4),
            mf.limits.FINITE_VOLUMES,
            dt=0.1,
            n_steps=1,
            progress=False,
        )
        for backend in ("cpu", "cuda")
    ]
    same_end(ends)
    np.testing.assert_allclose(ends[1].mass, ends[0].mass, rtol=0, atol=1e-12)


@check()
def whole_steps_on_the_sphere_are_those_of_the_cpu():
    rng = np.random.default_rng(5)
    x, start = rng.normal(size=(6, 3)), mf.InitialLaw(dim=3, w="sphere").sample(7, seed=1)
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=("a", "w")), x, x[:, 0])
    same_end(on_both(risk, start, mf.Sphere(mf.HEUN)))


@check(
    mini_batch=(lambda risk: mf.MiniBatch(risk, 4, seed=3),),
    replaced=(lambda risk: mf.MiniBatch(risk, 4, seed=3, replace=True),),
    online=(lambda risk: mf.OnlineRisk(risk.network, teacher_of(3), batch=4, seed=3),),
)
def whole_steps_of_drawn_samples_are_those_of_the_cpu(drawn):
    """Three steps of one epoch and a half, and the measures of all samples, R where it is known."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 3))
    risk = mf.EmpiricalRisk(mf.Network("tanh"), x, x[:, 0], ridge=0.1)
    start = mf.InitialLaw(dim=3, b_std=1.0).sample(7, seed=1)
    same_end(on_both(drawn(risk), start, mf.EULER, n_steps=3))


def teacher_of(d):
    return mf.InitialLaw(dim=d, b_std=1.0).sample(3, seed=2)


def on_both(functional, start, method, n_steps=2):
    """(CPU's end, device's end)."""
    flows = [mf.GradientFlow(functional, backend=backend) for backend in ("cpu", "cuda")]
    return [
        mf.simulate(flow, start, method, dt=0.1, n_steps=n_steps, progress=False) for flow in flows
    ]


@check()
def whole_steps_for_large_d_are_those_of_the_cpu():
    same_end(run("squared", 1, mf.RK4, d=20, dt=0.1, n_steps=1))


@check()
def whole_steps_in_single_precision_are_those_of_the_cpu_to_its_rounding():
    """Two steps of sums of at most 7 terms of order one, tens of operations each of half a unit of
    6e-8.
    """
    same_end(run("squared", 1, mf.HEUN, dtype="float32", dt=0.1, n_steps=2), atol=1e-5)


@check()
def a_step_that_is_found_is_that_of_the_cpu():
    """dt = "auto" rests on the largest eigenvalue of the tangent kernel, by push_forward and
    pull_back.
    """
    same_end(run("squared", 1, mf.EULER, dt="auto", n_steps=2), atol=1e-10)


@contextmanager
def counted(held):
    """{"launches": kernels launched, "to_host", "to_device": bytes of each copy} within the block."""
    seen = {"launches": 0, "to_host": [], "to_device": []}
    array = type(held.data)
    if compiler.SIMULATED:
        from numba.cuda.simulator import kernel

        launcher, inside = (
            kernel.FakeCUDAKernel,
            lambda launched: launched._device or kernel._get_kernel_context() is not None,
        )
    else:
        from numba.cuda.dispatcher import _LaunchConfiguration as launcher

        inside = lambda launched: False
    launch, to_host, to_device = launcher.__call__, array.copy_to_host, array.copy_to_device

    def count_launch(self, *arguments):
        seen["launches"] += not inside(self)
        return launch(self, *arguments)

    def count_to_host(self, *arguments, **named):
        seen["to_host"].append(self.nbytes)
        return to_host(self, *arguments, **named)

    def count_to_device(self, *arguments, **named):
        seen["to_device"].append(self.nbytes)
        return to_device(self, *arguments, **named)

    with (
        mock.patch.object(launcher, "__call__", count_launch),
        mock.patch.object(array, "copy_to_host", count_to_host),
        mock.patch.object(array, "copy_to_device", count_to_device),
    ):
        yield seen


STEPS = {
    "euler": (mf.EULER, 0.01, 7, {}),
    "rk4": (mf.RK4, 0.01, 31, {}),
    "watched": (mf.EULER, 0.01, 9, {"watches_size": True}),
    "auto": (mf.EULER, "auto", 11, {}),
    "softmax": (mf.EULER, 0.01, 7, {"loss": "softmax", "K": 3}),
    "wide": (mf.EULER, 0.01, None, {"d": 20}),
    "pairs": (
        mf.RK4,
        0.01,
        19,
        {"energy": mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.SPRING), "K": 0},
    ),
    "neurons": (mf.EULER, 0.01, 9, {"energy": population("gelu")[0], "d": 3}),
}


@check(**STEPS)
@check(slow=True, adaptive=(mf.Adaptive(1e-2, 1e-2), 1e-6, None, {}))
def a_step_is_launched_whole_and_reads_its_numbers_in_one_copy(integrator, dt, launches, settings):
    """Euler: the feature map and its sum, ℓ', the pull-back, a combination, ∫|v|² and its sum: 7.
    RK4: four times that and three points; of pairs a velocity is one launch, of neurons that meet a
    teacher six: their sources and Σ A w in three, the sums over the teacher and themselves, what
    these come to. "auto" adds R and the ridge, two each; watched, ∫|θ|². Nothing goes to the
    device, 2 KB come back, for any m and n.
    """
    settings = {"loss": "squared", "K": 1, "d": 2, "energy": None, "dtype": "float64"} | settings
    loss, K, d, energy, dtype = (
        settings.pop(name) for name in ("loss", "K", "d", "energy", "dtype")
    )
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(7, d)), labels(loss, 7, max(K, 1), rng)
    functional = energy or mf.EmpiricalRisk(mf.Network("tanh"), x, y, loss, ridge=0.1)
    theta = rng.normal(size=(9, d + (K + 1 if K else 0)))
    if isinstance(functional, mf.PopulationRisk):
        theta[:, -1] = 0.0  # there are no biases
    flow, state = (
        mf.GradientFlow(functional, backend="cuda", dtype=dtype),
        mf.State(theta, outputs=K),
    )
    march = March(flow, state, integrator, dt, 1.0, None, **settings)
    march.advance()
    with counted(march.particles.theta) as seen:
        march.advance()
        assert np.isfinite(
            march.dissipated + march.path + float(march.size2 if march.watches_size else 0)
        )
    assert not march.halvings and seen["to_device"] == [] and seen["to_host"] == [2048]
    assert launches is None or seen["launches"] == launches


@check()
def a_number_is_read_with_all_that_are_under_way():
    side, theta, u, weight, _ = Pair("relu", d=2, K=1).held[1]
    side._numbers = memory.Numbers(4)
    with counted(theta) as seen:
        early = [side.norm(array, weight) for array in (theta, u, theta)]
        assert (
            seen["to_host"] == []
            and float(early[1]) != float(early[0]) == float(early[2])
            and len(seen["to_host"]) == 1
        )
        # more than there are places
        many = [side.norm(array, weight) for array in (u, theta, u, theta, theta, u)]
        assert len(seen["to_host"]) == 2
        assert [float(number) for number in many] == [float(early[i]) for i in (1, 0, 1, 0, 0, 1)]


@check(first_variation=("first_variation",), energy=("energy",), velocity=("velocity",))
def what_a_flow_gives_is_that_of_the_cpu(quantity):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    state = mf.State(rng.normal(size=(7, 5)))
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=("w", "b")), x, y, ridge=0.1)
    expected, found = (
        getattr(mf.GradientFlow(risk, backend=name), quantity)(state) for name in ("cpu", "cuda")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@check()
def the_first_variation_at_other_neurons_is_that_of_the_cpu():
    """Seven neurons and five others, sums of a few terms of order one."""
    rng = np.random.default_rng(8)
    x, y, others = rng.normal(size=(6, 3)), rng.normal(size=(6, 1)), rng.normal(size=(5, 5))
    state = mf.State(rng.normal(size=(7, 5)))
    taught, neurons = population("erf", m=7)
    pairs = mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.GAUSSIAN, self_pairs=False)
    cases = [
        (
            mf.EmpiricalRisk(mf.Network("tanh", trainable=("w", "b")), x, y, ridge=0.1),
            state,
            others,
        ),
        (taught, neurons, others * [1, 1, 1, 1, 0]),
        (pairs, mf.State(state.theta[:, :2], outputs=0), others[:, :2]),
    ]
    for functional, at_state, at in cases:
        cpu, device = (mf.GradientFlow(functional, backend=name) for name in ("cpu", "cuda"))
        for name in ("first_variation", "velocity"):
            expected, found = (getattr(flow, name)(at_state, at) for flow in (cpu, device))
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@check()
def a_linearised_flow_is_that_of_the_cpu():
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    state = mf.State(rng.normal(size=(7, 5)))
    risk = ntk.linearise(mf.Network("tanh"), state).risk(x, y)
    flows = [mf.GradientFlow(risk, backend=name) for name in ("cpu", "cuda")]
    same_end(
        [mf.simulate(flow, state, mf.HEUN, dt=0.1, n_steps=2, progress=False) for flow in flows]
    )


@check(slow=True)
def adaptive_steps_are_those_of_the_cpu():
    same_end(run("squared", 2, mf.Adaptive(1e-5, 1e-7), t_end=0.5), atol=1e-9)


@check(slow=True)
def a_kernel_times_a_vector_is_that_of_the_cpu():
    pair = Pair("gelu", d=2, K=2)

    def product(b, theta, u, w, x):
        field = type("Field", (), {"backend": b, "weight": w, "samples": x})()
        return RiskField.tangent_product(field, theta, pair.r.astype(float))

    pair.same(product, 300, 11)


@check()
def philox_gives_the_words_of_the_cpu():
    pool = cuda.Pool()
    for components, step in ((1, 0), (6, 7), (8, 5 * 2**32 + 7)):
        for fill, expected in ((cuda_noise.raw, noise.raw), (cuda_noise.uniforms, noise.uniforms)):
            found = fill(pool, 2**32 - 11, noise.DIFFUSION, 9, components, step).data.copy_to_host()
            np.testing.assert_array_equal(
                found.T, expected(2**32 - 11, noise.DIFFUSION, 9, components, step)
            )


@check(**{f"{dtype}-p{p}": (dtype, p) for dtype in ("float64", "float32") for p in (1, 4, 6)})
def philox_moves_particles_as_on_the_cpu(dtype, p):
    """θ + dt v + c ξ: normals of up to 6.8, their logarithm, root and angle each of some units."""
    rng = np.random.default_rng(p)
    theta, v = (rng.normal(size=(9, p)).astype(dtype) for _ in range(2))
    moved = []
    for side in (backends.make("cpu", None, p, 0, dtype), cuda.CUDA(None, p, 0, dtype)):
        held = side.diffuse(side.upload(theta), 0.1, side.upload(v), 0.7, 11, 2**32 + 5)
        moved.append(side.download(held).astype(float))
    np.testing.assert_allclose(*moved, rtol=0, atol=1e-12 if dtype == "float64" else 1e-5)


@check(
    euler_maruyama=(mf.EULER_MARUYAMA,), heun=(mf.STOCHASTIC_HEUN,), lm=(mf.LEIMKUHLER_MATTHEWS,)
)
def whole_steps_of_langevin_are_those_of_the_cpu(method):
    same_end(run("squared", 1, method, temperature=0.3, dt=0.1, n_steps=2))


@check()
def a_run_says_and_files_what_computes_it():
    x = np.linspace(-1, 1, 5)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(), x, x[:, 0]), backend="auto")
    assert flow.backend == "cuda" and flow.to_dict()["backend"] == "cuda"


SHARED = {  # settings of the flow and of the risk, method
    "langevin": ({"temperature": 0.1, "dtype": "float32"}, {"ridge": 0.01}, mf.EULER_MARUYAMA),
    "reaction": ({"reaction": 1.0}, {"loss": "softmax"}, mf.EULER),
    "feature": ({}, {}, mf.EULER),
}
LONGER = {"euler": ({}, {}, mf.EULER), "rk4": ({}, {"loss": "huber"}, mf.RK4)}


@check(**{name: (*about, name, 300, 2) for name, about in SHARED.items()})
def ranks_have_the_bits_of_one_gpu(settings, how, method, name, m, size):
    """300 particles are two slabs, of 256 and 44; 600 are three."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 2))
    if name == "feature":
        own = mf.Feature(bump, grad_bump, columns={"a": (), "c": 2}, dim=2)
        network, start = mf.Network(own), own.state(rng.normal(size=(m, 3)))
    else:
        outputs = 3 if name == "reaction" else 1
        network = mf.Network("tanh")
        start = mf.InitialLaw(2, outputs=outputs, b_std=1.0).sample(m, seed=2)
    y = np.arange(4) % 3 if name == "reaction" else np.sin(x[:, 0])
    risk = mf.EmpiricalRisk(network, x, y, **how)
    flow = mf.GradientFlow(risk, backend="cuda", seed=5, **settings)

    def march(ranks):
        energies = mf.Series("energy", mf.every(1))
        watch = {"observers": [energies], "progress": False}
        end = mf.simulate(flow, start, method, 0.1, n_steps=1, **watch)
        return end.theta, end.mass, np.array(energies.values)

    whole = march(None)
    assert not np.array_equal(whole[0], start.theta)
    for shared in together(size, march):
        for found, expected in zip(shared, whole, strict=True):
            assert np.array_equal(found, expected)


@check(slow=True, **{name: (*about, name, 600, 3) for name, about in LONGER.items()})
def ranks_of_three_gpus_have_the_bits_of_one(*about):
    ranks_have_the_bits_of_one_gpu(*about)


@check()
def ranks_of_gpus_say_what_they_cannot_share():
    x = np.random.default_rng(3).normal(size=(4, 20))
    wide = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), x, x[:, 0]), backend="cuda")
    narrow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("tanh"), x[:, :2], x[:, 0]), backend="cuda"
    )
    for flow, d, m, words in (
        (wide, 20, 300, "up to d = 16"),
        (narrow, 2, 200, "summed in 1 slabs on a GPU"),
    ):
        start = mf.InitialLaw(d).sample(m, seed=2)
        try:
            together(
                2, lambda ranks: mf.simulate(flow, start, mf.EULER, 0.1, n_steps=1, progress=False)
            )
        except ValueError as error:
            assert words in str(error)
        else:
            raise AssertionError(words)
