"""mf.optimality: the lowest point of δF/δμ over neuron space, and the bound of the gap of F by it."""

import dataclasses

import numpy as np
import pair_formulas
import pytest
from scipy.optimize import minimize

import meanfield as mf
import ntk

X = np.linspace(-1.0, 1.0, 24)[:, None]
Y = np.abs(X[:, 0]) - 0.5
KINKED = mf.Network("relu")


def trained(flow, state, t_end=60.0, dt="auto"):
    return mf.simulate(flow, state, mf.RK4, dt=dt, t_end=t_end, progress=False)


def on_the_circle(x, count=400):
    """ReLU features of unit (w, b), each with a = ±1, all of them times ½: those of |θ|² = 1."""
    angle = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    half = 0.5 * np.maximum(np.cos(angle) * x + np.sin(angle), 0.0)
    return np.hstack([half, -half])


@pytest.fixture(scope="module")
def of_ridge():
    """(flow, the state of a run, inf F from above): J(η) = R(∫φ dη) + (λ/2) η is convex in the
    measure η on the sphere, here on 2 · 400 unit neurons.
    """
    flow = mf.GradientFlow(mf.EmpiricalRisk(KINKED, X, Y, ridge=0.01))
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(60, seed=0)
    features, n = on_the_circle(X), len(X)

    def energy(mass):
        left = features @ mass - Y
        return 0.5 * left @ left / n + 0.005 * mass.sum(), features.T @ left / n + 0.005

    best = minimize(
        energy, np.full(features.shape[1], 1e-3), jac=True, method="L-BFGS-B",
        bounds=[(0, None)] * features.shape[1], options={"maxiter": 3000, "ftol": 1e-14},
    )  # fmt: skip
    return flow, trained(flow, start, 1000.0), float(best.fun)


def test_the_bound_holds_against_the_convex_problem_on_the_sphere_and_is_tight(of_ridge):
    """THEORY.md 1: F is convex in μ; on unit neurons ∫ h dν >= min(h, 0) ∫|θ|² dν. The reference is
    above inf F, so its gap is below the true one: bound >= that gap. Near the end the bound is of
    the order of what is left, some 1 % of F.
    """
    flow, end, least = of_ridge
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(60, seed=0)
    for state in (start, trained(flow, start, 2.0), end):
        assert mf.optimality(flow, state).bound >= flow.energy(state) - least
    found = mf.optimality(flow, end)
    assert found.bound < 0.02 * found.energy
    assert "is the worst" in found.by
    assert found.hits > 1


def test_the_minimum_is_that_of_a_fine_grid_of_the_circle(of_ridge):
    """A grid of 20 000 angles is within (π/20000)²/2 · |h''| of the minimum, 1e-8 |h|."""
    flow, end, _ = of_ridge
    angle = np.linspace(0.0, 2.0 * np.pi, 20_000)
    for state in (end, mf.State([[1.0, 1.0, 0.5]])):
        found = mf.optimality(flow, state)
        grid = [
            flow.first_variation(
                state, at=np.c_[np.full_like(angle, a), np.cos(angle), np.sin(angle)] / np.sqrt(2.0)
            ).min()
            for a in (-1.0, 1.0)
        ]
        assert found.minimum == pytest.approx(min(grid), abs=1e-7)
        assert np.linalg.norm(found.neuron) == pytest.approx(1.0, abs=1e-14)
        assert flow.first_variation(state, at=found.neuron[None])[0] == pytest.approx(
            found.minimum, abs=1e-15
        )


def test_at_a_teacher_it_is_zero_to_rounding():
    """THEORY.md 4: R = ½∬K dνdν with ν = 0 at μ = μ*, so h = 0 and F = 0: sums of three terms,
    1e-15. With size= the bound is mean - min(g, 0) M as well.
    """
    teacher = mf.InitialLaw(dim=2, w="sphere").sample(3, seed=3)
    network = mf.Network("erf", trainable=("a", "w"))
    found = mf.optimality(mf.GradientFlow(mf.PopulationRisk(network, teacher)), teacher, size=1.0)
    assert abs(found.minimum) < 1e-15
    assert abs(found.mean) < 1e-15
    assert 0.0 <= found.bound < 1e-14


def test_at_an_interpolating_network_it_is_zero_to_rounding():
    """R = 0 at the start that made y, whatever the loss's slope there: n = 24 terms, 1e-14."""
    state = mf.InitialLaw(dim=1, b_std=1.0).sample(12, seed=1)
    y = mf.GradientFlow(mf.EmpiricalRisk(KINKED, X, Y)).predict(state)
    found = mf.optimality(mf.GradientFlow(mf.EmpiricalRisk(KINKED, X, y)), state)
    assert found.bound < 1e-28
    assert abs(found.minimum) < 1e-14


def test_a_network_of_size_M_is_not_better_than_the_bound_for_M_says():
    """Without a ridge: F(μ) - F(ν) <= ∫h dμ - min(g, 0) M for ν the trained network of
    M = ∫|θ|² dν, q = 2.
    """
    flow = mf.GradientFlow(mf.EmpiricalRisk(KINKED, X, Y))
    start = mf.InitialLaw(dim=1, a_std=0.1, w_std=0.1, b_std=0.1, symmetric=True).sample(40, seed=0)
    end = trained(flow, start, 30.0)
    size = float(end.mass @ (end.theta**2).sum(axis=1))
    found = mf.optimality(flow, start, size=size)
    assert found.bound >= flow.energy(start) - flow.energy(end)
    assert mf.optimality(flow, start, size=0.01).bound < found.bound
    assert mf.optimality(flow, end).bound == flow.energy(end)


@pytest.mark.parametrize(
    ("trainable", "settings", "loss"),
    [
        (("a", "w", "b"), {"ridge": 0.01}, "squared"),  # a plane: tanh is not homogeneous
        (("w", "b"), {}, "squared"),  # a stays: a plane for each value of a
        (("a",), {"ridge": 0.01}, "huber"),  # random features: q = 1, a ray for each w
        (("a", "w", "b"), {"ridge": 0.01, "reduction": "sum"}, "logistic"),
    ],
)
def test_the_bound_holds_for_planes_frozen_columns_and_other_losses(trainable, settings, loss):
    """inf F is at most F after a long run of the same frozen columns, so the gap of the start is at
    least what that run lost.
    """
    y = np.sign(Y) if loss == "logistic" else Y
    risk = mf.EmpiricalRisk(mf.Network("tanh", trainable=trainable), X, y, loss, **settings)
    flow = mf.GradientFlow(risk)
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(16, seed=2)
    end = trained(flow, start)
    for state in (start, end):
        found = mf.optimality(flow, state, starts=32)
        assert found.bound >= flow.energy(state) - flow.energy(end)
        assert found.bound <= flow.energy(state)


def test_random_features_are_bounded_by_ridge_regression():
    """a trained alone, squared loss: F is R + (λ/2) Σ p a², least at a = -G/λ by ridge regression
    in closed form; q = 1 has the minimum -g²/(2λ) on each ray. At the optimum the bound is 0 up to
    rounding of sums, 1e-12 F.
    """
    network = mf.Network("tanh", trainable=("a",))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, X, Y, ridge=0.1))
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(16, seed=2)
    features = np.tanh(X @ start.w.T + start.b) / start.m
    gram = features.T @ features / len(X) + 0.1 * np.eye(start.m) / start.m
    theta = start.theta.copy()
    theta[:, 0] = np.linalg.solve(gram, features.T @ Y / len(X))
    best = mf.State(theta)
    assert mf.optimality(flow, best).bound < 1e-12 * flow.energy(best)
    gap = flow.energy(start) - flow.energy(best)
    assert gap <= mf.optimality(flow, start).bound


@pytest.mark.parametrize("sigma", ["relu", "tanh"])
def test_where_a_alone_trains_the_bound_is_that_of_each_parabola(sigma):
    """On each frozen (w, b), h(a) = c a + (λ/2) a² is least at -c²/(2λ), so the bound is
    ∫ (λa + c)²/(2λ) dμ, and at least the gap to ridge regression; from 40 features and the reverse
    of the best a, where λ = 10 leaves 1 % between the two.
    """
    ridge, m = 10.0, 40
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(sigma, trainable=("a",)), X, Y, ridge=ridge))
    for seed in range(24):
        law = mf.InitialLaw(dim=1, b_std=1.0).sample(m, seed=seed)
        z = X @ law.w.T + law.b
        features = np.tanh(z) if sigma == "tanh" else np.maximum(z, 0.0)
        a = np.linalg.solve(
            features.T @ features / (len(X) * m) + ridge * np.eye(m), features.T @ Y / len(X)
        )
        best, state = (mf.State(np.c_[sign * a, law.w, law.b]) for sign in (1.0, -1.0))
        found = mf.optimality(flow, state, seed=seed)
        c = features.T @ (-features @ a / m - Y) / len(X)
        exact = np.mean((c - ridge * a) ** 2) / (2.0 * ridge)
        assert found.bound == pytest.approx(min(exact, found.energy), rel=1e-12)
        assert found.bound >= (flow.energy(state) - flow.energy(best)) * (1.0 - 1e-12)
        assert mf.optimality(flow, best).bound < 1e-12 * flow.energy(best)
    assert "above its infimum over networks with these frozen (w, b): " in str(found)


def test_where_one_column_is_on_the_sphere_both_signs_are_tried():
    """w alone trains, d = 1, b = 0: on each frozen a, h is c₊w + (λ/2) w² and c₋|w| + (λ/2) w² left
    of 0, least at -min(c₊, c₋, 0)²/(2λ). Neurons of w = 0 are on neither side.
    """
    ridge, a = 1.0, np.random.default_rng(0).normal(size=30)
    state = mf.State(np.c_[a, np.r_[np.zeros(5), np.full(25, -0.1)], np.zeros(30)])
    network = mf.Network("relu", trainable=("w",))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, X, Y - 0.5 * X[:, 0], ridge=ridge))
    signs = [np.c_[a, np.full(30, w), np.zeros(30)] for w in (1.0, -1.0)]
    c = np.min([flow.first_variation(state, at=those) for those in signs], axis=0) - 0.5 * ridge
    exact = np.mean(flow.first_variation(state) + np.minimum(c, 0.0) ** 2 / (2.0 * ridge))
    for seed in range(3):
        found = mf.optimality(flow, state, seed=seed)
        assert found.bound == pytest.approx(exact, rel=1e-12)
    assert exact < found.energy


def test_inject_lowers_F_by_the_slope_it_promises():
    """F((1-ε)μ + ε δ) = F + ε (minimum - mean) + ε² R''/2 for the squared loss, exactly quadratic:
    two shares give the linear term; γ = 1.
    """
    flow = mf.GradientFlow(mf.EmpiricalRisk(KINKED, X, Y, ridge=0.01))
    state = dataclasses.replace(mf.InitialLaw(dim=1, b_std=1.0).sample(6, seed=4), step=7, t=1.5)
    found = mf.optimality(flow, state)
    F = [flow.energy(found.inject(share)) for share in (0.1, 0.2)]
    slope = (4.0 * (F[0] - found.energy) - (F[1] - found.energy)) / 0.2
    assert slope == pytest.approx(found.minimum - found.mean, rel=1e-9)
    assert flow.energy(found.inject(1e-3)) < found.energy
    wider = found.inject(0.25)
    assert (wider.m, wider.step, wider.t, wider.mass[-1]) == (7, 7, 1.5, 0.25)


def test_inject_keeps_the_start_of_a_centred_network():
    """f - f_0 with the f_0 of the run: a share ε changes F by ε (minimum - mean), where a start of
    its own would make f = 0. ε = 1e-6 leaves ε R''/2, 1e-4 of the slope here.
    """
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu", centred=True), X, Y, ridge=0.01))
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(6, seed=4)
    for state in (start, trained(flow, start, 1.0)):
        found = mf.optimality(flow, state)
        change = flow.energy(found.inject(1e-6)) - found.energy
        assert change == pytest.approx(1e-6 * (found.minimum - found.mean), rel=1e-4)


def test_a_pair_energy_is_bounded_where_its_user_says_that_it_is_convex():
    """V quadratic, U Gaussian, positive definite: F is convex in μ. inf F <= F of 60 particles at
    rest.
    """
    flow = mf.GradientFlow(mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.GAUSSIAN))
    few = mf.State(np.random.default_rng(0).normal(size=(3, 2)), outputs=0)
    many = mf.State(np.random.default_rng(1).normal(size=(60, 2)), outputs=0)
    rest = trained(flow, many, 10.0, dt=0.05)
    found = mf.optimality(flow, few, convex=True)
    assert found.bound >= flow.energy(few) - flow.energy(rest)
    assert found.minimum <= flow.first_variation(few).min()
    assert np.isnan(mf.optimality(flow, few).bound)
    assert flow.energy(found.inject(0.01)) < flow.energy(few)


@pytest.mark.parametrize("case", ["samples", "teacher", "pairs", "mini-batch"])
def test_the_velocity_at_other_neurons_is_that_of_neurons_without_mass(case):
    """-∇δF/δμ(θ; μ): that of θ among μ's own with mass 0 at γ = 1, sums in another order: 1e-12."""
    rng = np.random.default_rng(5)
    p = {"pairs": 2, "teacher": 4}.get(case, 3)
    at, theta = rng.normal(size=(4, p)), rng.normal(size=(5, p))
    if case == "pairs":
        energy = mf.PairwiseEnergy(pair_formulas.QUADRATIC, pair_formulas.GAUSSIAN)
    elif case == "teacher":
        at[:, -1] = theta[:, -1] = 0.0
        energy = mf.PopulationRisk(mf.Network("erf", trainable=("a", "w")), mf.State(at[:2]), 0.3)
    else:
        energy = mf.EmpiricalRisk(mf.Network("tanh"), X, Y, ridge=0.3)
    state = mf.State(theta, outputs=0 if case == "pairs" else 1)
    flow = mf.GradientFlow(mf.MiniBatch(energy, 3) if case == "mini-batch" else energy)
    joined = mf.State(
        np.vstack([state.theta, at]), state.outputs, np.append(state.mass, np.zeros(4))
    )
    expected = mf.GradientFlow(energy).velocity(joined)[5:]
    np.testing.assert_allclose(flow.velocity(state, at=at), expected, rtol=1e-12, atol=1e-13)


STATE = mf.InitialLaw(dim=1).sample(4, seed=0)
RISK = mf.EmpiricalRisk(KINKED, X, Y)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mf.optimality(RISK, STATE), "flow must be an mf.GradientFlow; got EmpiricalRisk"),
        (lambda: mf.optimality(mf.GradientFlow(RISK), STATE.theta), "state must be an mf.State"),
        (
            lambda: mf.optimality(mf.GradientFlow(RISK, temperature=0.1), STATE),
            r"without the entropy.*dataclasses.replace\(flow, temperature=0\)",
        ),
        (
            lambda: mf.optimality(
                mf.GradientFlow(ntk.linearise(KINKED, STATE).risk(X, Y)), STATE
            ),
            "features of a LinearisedRisk are frozen.*ntk.KernelFlow",
        ),
        (
            lambda: mf.optimality(
                mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu", trainable=()), X, Y)), STATE
            ),
            "trains nothing",
        ),
        (lambda: mf.optimality(mf.GradientFlow(RISK), STATE, size=-1.0), "size must be a finite"),
        (
            lambda: mf.optimality(
                mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, Y, ridge=0.1)), STATE, size=2.0
            ),
            r"size=2 needs.*homogeneous.*σ = tanh, trainable \(a, w, b\), ridge = 0.1 it is not",
        ),
        (
            lambda: mf.optimality(
                mf.GradientFlow(
                    mf.PairwiseEnergy(interaction=pair_formulas.GAUSSIAN, self_pairs=False)
                ),
                mf.State([[0.0], [1.0]], outputs=0),
                convex=True,
            ),
            "no function of μ.*self_pairs=True",
        ),
        (lambda: mf.optimality(mf.GradientFlow(RISK), STATE, starts=0), "starts must be an integer"),
        (
            lambda: mf.optimality(mf.GradientFlow(RISK), STATE).inject(1.0),
            "mass must be between 0 and 1",
        ),
        (
            lambda: mf.optimality(
                mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu", mf.NTK), X, Y)), STATE
            ).inject(0.1),
            r"γ = 0.5 the output scale.*α times \(m/\(m \+ 1\)\)\^\(1-γ\) = 0.894427",
        ),
        (
            lambda: mf.optimality(
                mf.GradientFlow(mf.OnlineRisk(KINKED, np.abs, dim=1, batch=2)), STATE
            ),
            "not known in closed form",
        ),
    ],
)  # fmt: skip
def test_what_makes_no_sense_raises_with_what_to_do(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        make()


def test_a_neuron_that_is_long_enough_lowers_f_where_one_of_length_one_does_not():
    """Without a ridge h(rθ) = r² h(θ): below the mean from r = √(mean/minimum) on."""
    flow = mf.GradientFlow(mf.EmpiricalRisk(KINKED, X, 6.0 * Y))
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(12, seed=0)
    state = trained(flow, start, 3.0)
    found = mf.optimality(flow, state)
    assert 1.0 < found.longer < np.inf and "times as long" in str(found)
    before, share = flow.energy(state), 1e-7

    def change(length):
        return (flow.energy(found.inject(share, length)) - before) / share

    for length in (1.0, 0.9 * found.longer, 1.1 * found.longer, 2.0 * found.longer):
        slope = length**2 * found.minimum - found.mean
        assert change(length) == pytest.approx(slope, rel=1e-3, abs=1e-3 * abs(found.mean))
    ridged = mf.optimality(
        dataclasses.replace(flow, functional=mf.EmpiricalRisk(KINKED, X, Y, ridge=0.1)), state
    )
    with pytest.raises(ValueError, match="length is decided"):
        ridged.inject(0.1, length=2.0)
