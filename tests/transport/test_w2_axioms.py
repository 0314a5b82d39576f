"""W2 is a distance on clouds with masses, and what bounds it does: for clouds that hypothesis draws,
with ties, repeated particles, particles without mass, and scales from 10⁻⁶ to 10⁶.
"""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf

MANY = pytest.mark.slow


@st.composite
def clouds(draw, count, paired=False):
    """(unit, clouds) in one space; paired: of equal numbers and masses. unit: their diameter."""
    p, seed = draw(st.integers(1, 3)), draw(st.integers(0, 10**6))
    scale = 10.0 ** draw(st.integers(-6, 6))
    sizes = [draw(st.integers(1, 7))] * count
    if not paired:
        sizes = [draw(st.integers(1, 7)) for _ in range(count)]
    chance, found, mass = np.random.default_rng(seed), [], None
    coarse, weighted = draw(st.booleans()), draw(st.booleans())
    for size in sizes:
        theta = chance.normal(size=(size, p))
        theta = scale * (np.round(theta) if coarse else theta)
        if mass is None or not paired:
            mass = chance.integers(0, 4, size) + (0.0 if weighted else 1.0)
            mass[chance.integers(size)] += 1.0
            mass = mass / mass.sum() if weighted else np.full(size, 1 / size)
        found.append(mf.State(theta, outputs=0, mass=mass))
    return 2 * max(np.abs(state.theta).max() for state in found), found


def allowance(unit):
    """W2² is proved to 1e-9 of itself, and coordinates are rounded to ε of the diameter."""
    return 1e-7 * unit


@pytest.mark.parametrize("count", [25, pytest.param(2000, marks=MANY)])
def test_w2_is_a_distance(count):
    """TRUTHS.md 3.8 and Villani, Optimal Transport: Old and New, chapter 6: never negative, 0 from a
    cloud to itself in another order, symmetric, and no longer over a third cloud.
    """

    @examples(count)
    @given(clouds(3))
    def holds(drawn):
        unit, (p, q, r) = drawn
        pq, qr, pr = mf.w2(p, q), mf.w2(q, r), mf.w2(p, r)
        assert min(pq, qr, pr) >= 0
        assert mf.w2(q, p) == pytest.approx(pq, abs=allowance(unit))
        assert pr <= pq + qr + allowance(unit)
        order = np.random.default_rng(0).permutation(p.m)
        again = mf.State(p.theta[order], outputs=0, mass=p.mass[order])
        assert mf.w2(p, again) <= allowance(unit)

    holds()


@pytest.mark.parametrize("count", [25, pytest.param(2000, marks=MANY)])
def test_scaled_and_moved_clouds_are_as_far_apart_as_they_should_be(count):
    """W2(c·p, c·q) = c·W2(p, q), and W2(p + s, q + s) = W2(p, q)."""

    @examples(count)
    @given(clouds(2), st.sampled_from([0.25, 3.0, 1e3]))
    def holds(drawn, c):
        unit, (p, q) = drawn
        wanted = mf.w2(p, q)
        for change, factor in ((lambda x: c * x, c), (lambda x: x + unit, 1.0)):
            moved = [mf.State(change(s.theta), outputs=0, mass=s.mass) for s in (p, q)]
            assert mf.w2(*moved) == pytest.approx(factor * wanted, abs=factor * allowance(unit))

    holds()


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=MANY)])
def test_bounds_are_bounds(count):
    """Gelbrich's and the mean's below, any coupling above, the interval around; along directions it
    is no longer.
    """

    @examples(count)
    @given(clouds(2), st.sampled_from([0.0, 1.0]))
    def holds(drawn, seconds):
        unit, (p, q) = drawn
        exact, slack = mf.w2(p, q), allowance(unit)
        found = mf.w2_interval(p, q, seconds=seconds)
        assert found.lower <= exact + slack and exact <= found.upper + slack
        assert mf.w2(p, q, "bures") <= exact + slack
        assert mf.w2(p, q, "sliced", n_projections=8) <= exact + slack
        means = p.mass @ p.theta - q.mass @ q.theta
        assert np.linalg.norm(means) <= exact + slack
        independent = sum(
            a * b * np.sum((x - y) ** 2)
            for a, x in zip(p.mass, p.theta, strict=True)
            for b, y in zip(q.mass, q.theta, strict=True)
        )
        assert exact <= np.sqrt(independent) + slack

    holds()


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=MANY)])
def test_the_displacement_of_neurons_is_no_less(count):
    @examples(count)
    @given(clouds(2, paired=True))
    def holds(drawn):
        unit, (p, q) = drawn
        assert mf.w2(p, q) <= mf.displacement(p, q) + allowance(unit)

    holds()
