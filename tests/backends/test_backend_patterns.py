"""Patterns: the bits of the compiled kernels are those of plain NumPy formulas, for any number of
threads.
"""

import numpy as np
import pytest

from meanfield.backends.cpu.patterns import Sampler


def sampler(x, outputs=2, dtype="float64", tracked=600, degrees=20.0, limit=10**4, mortal=True):
    return Sampler(x, outputs, np.dtype(dtype), tracked, degrees, limit, mortal)


def bits(word, count):
    return [int(word) >> i & 1 for i in range(count)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("d", "n"), [(1, 64), (2, 5), (3, 64), (11, 63)])
def test_patterns_are_the_signs_of_the_plain_sum(rng, threads, d, n, dtype):
    """z = b + w_0 x_0 + w_1 x_1 + … rounded after every operation in the dtype of θ: equal to the
    last bit.
    """
    theta, x = rng.normal(size=(5000, 2 + d + 1)).astype(dtype), rng.normal(size=(n, d))
    z = theta[:, -1][:, None] + theta[:, 2][:, None] * x.astype(dtype)[:, 0]
    for j in range(1, d):
        z = z + theta[:, 2 + j][:, None] * x.astype(dtype)[:, j]
    assert z.dtype == dtype
    expected = ((z > 0).astype(np.uint64) << np.arange(n, dtype=np.uint64)).sum(
        axis=1, dtype=np.uint64
    )
    np.testing.assert_array_equal(sampler(x, dtype=dtype).sample(theta).active, expected)


@pytest.mark.parametrize("m", [1, 64, 65, 200, 600])
def test_close_pairs_are_those_of_the_plain_distance(rng, threads, m):
    """Of the first 600 only. The last neuron has no direction; the second has that of the first, at
    another length.
    """
    theta = rng.normal(size=(m, 5))
    theta[-1, 1:] = 0
    if m > 2:
        theta[1, 1:] = 3 * theta[0, 1:]
    found = sampler(rng.normal(size=(4, 3)), outputs=1).sample(theta)
    with np.errstate(invalid="ignore"):
        u = theta[:, 1:] / np.linalg.norm(theta[:, 1:], axis=1, keepdims=True)
    near = np.linalg.norm(u[:, None] - u, axis=2) <= 2 * np.sin(np.radians(10.0))
    assert found.near.shape == (m, -(-m // 64))
    for k in range(m):
        row = np.array([bit for word in found.near[k] for bit in bits(word, 64)])[:m]
        np.testing.assert_array_equal(row, near[k] & (np.arange(m) > k))


def test_a_pair_is_close_up_to_the_angle_itself():
    """1 and 29.99 degrees apart are within 30, 30.01 are not; so is the sign of u."""
    at = np.radians([0.0, 1.0, 29.99, 30.01, 180.0])
    theta = np.column_stack([np.ones(5), np.cos(at), np.sin(at)])
    near = sampler(np.ones((1, 1)), outputs=1, degrees=30.0).sample(theta).near[:, 0]
    assert [bits(word, 5) for word in near] == [
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 0],
        [0] * 5,
        [0] * 5,
    ]


@pytest.mark.parametrize("mortal", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 10**4])
def test_differences_are_counted_and_the_first_are_listed(rng, mortal, limit):
    """Against loops over all neurons, samples and pairs; half of the neurons are silent before,
    another half after.
    """
    x = rng.normal(size=(3, 2))
    thetas = [rng.normal(size=(90, 4)) for _ in range(2)]
    for theta, first in zip(thetas, (0, 20), strict=True):
        theta[first : first + 40, -1] = -50
    one = sampler(x, outputs=1, limit=limit, mortal=mortal)
    before, after = (one.sample(theta) for theta in thetas)
    expected = []
    for k in range(90):
        expected += [
            (0, k, i, float(int(after.active[k]) >> i & 1))
            for i in range(3)
            if int(before.active[k] ^ after.active[k]) >> i & 1
        ]
    for kind, then, now in ((1, before, after), (2, after, before)):
        expected += [
            (kind, k, -1, float(int(then.active[k]).bit_count()))
            for k in range(90)
            if mortal and then.active[k] and not now.active[k]
        ]
    for kind, then, now in ((3, before, after), (4, after, before)):
        words = now.near & ~then.near
        for k in range(90):
            for other in range(90):
                if int(words[k, other // 64]) >> other % 64 & 1:
                    angle = np.degrees(
                        2 * np.arcsin(np.linalg.norm(after.u[k] - after.u[other]) / 2)
                    )
                    expected.append((kind, k, other, angle))
    found = one.differences(before, after)
    totals = [sum(row[0] == kind for row in expected) for kind in range(5)]
    assert (
        found.totals == totals
        and all(totals[kind] for kind in (0, 3, 4))
        and bool(totals[1] and totals[2]) == mortal
    )
    assert found.silent == np.count_nonzero(after.active == 0)
    listed = [
        row for kind in range(5) for row in [row for row in expected if row[0] == kind][:limit]
    ]
    rows = list(
        zip(
            found.kind.tolist(),
            found.neuron.tolist(),
            found.other.tolist(),
            found.value.tolist(),
            strict=True,
        )
    )
    assert [row[:3] for row in rows] == [row[:3] for row in listed]
    np.testing.assert_allclose(
        [row[3] for row in rows], [row[3] for row in listed], rtol=1e-13, atol=1e-12
    )


def test_rows_of_an_earlier_call_are_not_overwritten(rng):
    one = sampler(rng.normal(size=(8, 2)), outputs=1)
    a, b = (one.sample(rng.normal(size=(50, 4))) for _ in range(2))
    first = one.differences(a, b)
    kept = first.neuron.copy(), list(first.totals)
    one.differences(b, a)
    one.differences(a, a)
    np.testing.assert_array_equal(first.neuron, kept[0])
    assert first.totals == kept[1] and one.differences(a, a).totals == [0] * 5
