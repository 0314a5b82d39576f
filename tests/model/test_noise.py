"""Philox4x32-10 and the draws built on it."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from meanfield import noise

# philox4x32 10 of Random123's kat_vectors: counter, key, output.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
DRAWS = [noise.raw, noise.uniforms, noise.normals]


def hex_words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, output", KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_random123(counter, key, output):
    np.testing.assert_array_equal(
        noise.philox4x32(hex_words(counter), hex_words(key)), np.array(hex_words(output), np.uint32)
    )


def test_raw_words_are_the_block_of_particle_step_and_component():
    step = 5 * 2**32 + 7  # both words of the step are in use
    words = noise.raw(11, noise.DIFFUSION, np.array([3, 2**32 - 1]), 10, step)
    assert words.shape == (2, 10) and words.dtype == np.uint32
    for row, particle in zip(words, (3, 2**32 - 1), strict=True):
        blocks = [noise.philox4x32([particle, 7, 5, b], [11, noise.DIFFUSION]) for b in range(3)]
        np.testing.assert_array_equal(row, np.concatenate(blocks)[:10])


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_depends_on_neither_the_width_nor_the_number_of_components(draw):
    wide = draw(1, noise.INITIAL, 1000, 11, 4)
    for m, components in [(1, 11), (17, 1), (64, 2), (999, 3), (1000, 7), (5, 10)]:
        np.testing.assert_array_equal(
            draw(1, noise.INITIAL, m, components, 4), wide[:m, :components]
        )
    chosen = np.array([999, 3, 3, 500], dtype=np.int64)
    np.testing.assert_array_equal(draw(1, noise.INITIAL, chosen, 11, 4), wide[chosen])
    np.testing.assert_array_equal(draw(1, noise.INITIAL, np.arange(1000)[::2], 11, 4), wide[::2])


@pytest.mark.parametrize("draw", DRAWS)
def test_nothing_asked_gives_empty_arrays(draw):
    assert draw(0, 0, 0, 3).shape == (0, 3)
    assert draw(0, 0, 3, 0).shape == (3, 0)
    assert draw(0, 0, np.array([], dtype=int), 2).shape == (0, 2)


@pytest.mark.parametrize("draw", DRAWS)
def test_other_seeds_purposes_and_steps_give_other_numbers(draw):
    keys = [
        (0, 0, 0),
        (1, 0, 0),
        (2**32 - 1, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
        (0, 0, 1),
        (0, 0, 2**32),
        (0, 0, 2**64 - 1),
    ]
    draws = [draw(seed, purpose, 50, 4, step) for seed, purpose, step in keys]
    for i, first in enumerate(draws):
        for second in draws[:i]:
            # 200 numbers of 2³² values: a single tie has probability 5e-8
            assert np.mean(first == second) < 0.01


def test_the_purposes_are_different_streams():
    purposes = [noise.INITIAL, noise.DIFFUSION, noise.MINIBATCH, noise.DATA, noise.BOOTSTRAP]
    assert purposes == [0, 1, 2, 3, 4]  # fixed for ever: stored runs are reproduced by them


def test_uniforms_are_the_words_shifted_into_the_open_interval():
    u, words = noise.uniforms(3, noise.DATA, 1000, 6), noise.raw(3, noise.DATA, 1000, 6)
    np.testing.assert_array_equal(u, (words + 0.5) / 2.0**32)
    assert (
        noise.open_uniform(np.uint32(0)) == 2.0**-33
        and noise.open_uniform(np.uint32(2**32 - 1)) == 1 - 2.0**-33
    )


def test_normals_are_box_muller_on_neighbouring_components():
    z, u = noise.normals(3, noise.DATA, 1000, 6), noise.uniforms(3, noise.DATA, 1000, 6)
    radius, angle = np.sqrt(-2 * np.log(u[:, 0::2])), 2 * np.pi * u[:, 1::2]
    # an ulp in each of log, sqrt, cos, the angle (<= 2π) and the products: |z| < 6.8 leaves 6.8 *
    # 2π * 4 * 2⁻⁵³ < 4e-14
    np.testing.assert_allclose(z[:, 0::2], radius * np.cos(angle), rtol=0, atol=4e-14)
    np.testing.assert_allclose(z[:, 1::2], radius * np.sin(angle), rtol=0, atol=4e-14)


@pytest.mark.skipif(noise._drawn_in_python >= noise.FIRST, reason="every number is compiled here")
@pytest.mark.parametrize("m, components, step", [(0, 3, 0), (5, 0, 0), (7, 1, 2**40), (900, 9, 5)])
@pytest.mark.parametrize("fill", noise._IN_PYTHON, ids=lambda fill: fill.py_func.__name__)
def test_python_draws_the_bits_of_the_compiled_kernels(fill, m, components, step):
    dtype = np.uint32 if fill is noise._fill_raw else np.float64
    made, compiled = np.empty((2, m, components), dtype)
    particles = np.arange(2**32 - 1000, 2**32 - 1000 + m, dtype=np.uint32)
    key = noise.words(2**32 - 1, noise.DATA, step)
    noise._fill_in_python(fill, made, particles, *key)
    fill(compiled, particles, *key)
    assert made.tobytes() == compiled.tobytes()


def test_only_the_first_numbers_of_a_process_are_drawn_in_python(monkeypatch):
    monkeypatch.setattr(noise, "_drawn_in_python", 0)
    calls = 0
    while noise._to_draw_in_python(8):
        calls += 1
    assert 0 <= noise.FIRST - 8 - (calls - 1) * (8 + noise.CALL) < 8 + noise.CALL
    assert not noise._to_draw_in_python(noise.FIRST)


def test_uniforms_and_normals_have_the_moments_of_their_laws():
    m, components = 100_000, 6
    u, z = (
        noise.uniforms(5, noise.INITIAL, m, components, 9),
        noise.normals(5, noise.INITIAL, m, components, 9),
    )
    error = 5 / math.sqrt(m)  # 5 standard errors of a mean of unit variance
    assert np.all(abs(u.mean(0) - 0.5) < error * math.sqrt(1 / 12))
    # var (u - ½)² = 1/80 - 1/144
    assert np.all(abs(u.var(0) - 1 / 12) < error * math.sqrt(1 / 180))
    assert np.all(abs(z.mean(0)) < error)
    assert np.all(abs((z**2).mean(0) - 1) < error * math.sqrt(2))
    assert np.all(abs((z**3).mean(0)) < error * math.sqrt(15))
    assert np.all(abs((z**4).mean(0) - 3) < error * math.sqrt(96))  # E z⁸ - 9 = 96


def test_normals_of_different_components_particles_and_steps_are_uncorrelated():
    m = 100_000
    z = np.hstack([noise.normals(5, noise.DIFFUSION, m, 4, step) for step in (0, 1, 2**32)])
    error = 5 / math.sqrt(m - 1)
    off_diagonal = ~np.eye(12, dtype=bool)
    assert np.all(abs((z.T @ z / m)[off_diagonal]) < error)
    # Box–Muller pairs share a radius
    assert np.all(abs(((z**2 - 1).T @ (z**2 - 1) / (2 * m))[off_diagonal]) < error)
    assert np.all(abs(z[1:].T @ z[:-1] / (m - 1)) < error)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, 0.5, "0", None, True])
def test_a_seed_that_is_not_a_32_bit_integer_raises_with_advice(seed):
    with pytest.raises(ValueError, match="seed.*32"):
        noise.normals(seed, noise.INITIAL, 3, 2)


@pytest.mark.parametrize(
    "arguments, named",
    [
        ((0, -1, 3, 2), "purpose"),
        ((0, 0, -3, 2), "particles"),
        ((0, 0, 2.5, 2), "particles"),
        ((0, 0, np.array([0.5]), 2), "particles"),
        ((0, 0, np.array([[0]]), 2), "particles"),
        ((0, 0, np.array([-1]), 2), "particle indices"),
        ((0, 0, np.array([2**32]), 2), "particle indices"),
        ((0, 0, 3, -2), "components"),
        ((0, 0, 3, 2, 2**64), "step"),
        ((0, 0, 3, 2, -1), "step"),
    ],
)
def test_other_bad_arguments_raise_and_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        noise.raw(*arguments)


def test_numpy_integers_are_seeds_too():
    np.testing.assert_array_equal(
        noise.raw(np.uint32(7), 0, np.int64(4), np.int32(2)), noise.raw(7, 0, 4, 2)
    )


@pytest.mark.process
def test_a_second_process_loads_the_compiled_code_from_the_cache(tmp_path):
    program = (
        "from meanfield import noise; noise.normals(0, 0, noise.FIRST, 2); "
        "print(sum(noise._fill_normals.stats.cache_hits.values()))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def hits():
        return int(
            subprocess.run(
                [sys.executable, "-c", program], env=environment, capture_output=True, check=True
            ).stdout
        )

    assert [hits(), hits()] == [0, 1]
