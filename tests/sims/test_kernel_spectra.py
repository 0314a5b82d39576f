"""Spectra on the circle: closed form, kernels on points, networks that learn waves."""

import numpy as np
import pytest
from scipy import integrate

import ntk
from sims import figures, kernel_spectra
from sims.kernel_spectra import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    small = kernel_spectra.tiny().sphere
    config = kernel_spectra.Config(widths=(64, 256, 1024), seeds=4, n=32, t_end=60.0, sphere=small)
    return kernel_spectra.run(config, tmp_path_factory.mktemp("spectra"))


@pytest.mark.parametrize("k", range(7))
@pytest.mark.parametrize("trained", ["w", "w and b"])
def test_eigenvalues_are_the_fourier_coefficients_of_the_kernel(k, trained):
    """(1/π) ∫_0^π K(ψ) cos kψ dψ by quadrature, to its own 1e-12."""

    def kernel(psi):
        return (np.cos(psi) + (trained == "w and b")) * (np.pi - psi) / (2 * np.pi)

    found = integrate.quad(lambda psi: kernel(psi) * np.cos(k * psi), 0, np.pi, epsabs=1e-13)[0]
    assert measures.eigenvalue(k, trained) == pytest.approx(found / np.pi, abs=1e-12)


def test_equispaced_points_fold_the_spectrum(results):
    """On n points degree k has Σ_j λ_{|k + jn|}. The tail beyond |j| = 400 is 2/(π²n²·400) = 5e-7 of w,
    and as much of b. The kernel by ntk.kernel is right to 1e-8 at antipodal inputs.
    """
    config = results.config
    for trained in measures.TRAINED:
        folded = [
            sum(measures.eigenvalue(abs(k + j * config.n), trained) for j in range(-400, 401))
            for k in range(config.degrees)
        ]
        np.testing.assert_allclose(measures.limit(config, trained), folded, atol=1.1e-6)


def test_each_wave_decays_with_its_eigenvalue_and_the_third_stays(results):
    """THEORY.md, section 3: e^{-λ_k t}. At m = 1024 λ_1 is within 3 standard deviations, m^(-1/2), of
    1/8: here 10 %; the neurons' drift adds m^(-3/4) (TRUTHS.md, section 6).
    """
    from sims.lab import cells

    file = cells.read(results.folder / "m001024.npz")[1]
    left = file["left"].mean(axis=0)
    for number, k in enumerate(measures.LEARNT):
        theory = np.exp(-measures.eigenvalue(k) * file["times"])
        assert np.abs(left[:, number] - theory).max() < 0.05
    assert left[-1, 2] > 0.95 and left[-1, 0] < 0.01


def test_a_network_has_the_spectrum_of_the_limit_on_average_and_is_one_over_root_m_from_it(results):
    """The rotations by 2π/n of one neuron's kernel average to the same for every direction of w that no
    point is at right angles to, so ⟨v, H v⟩ has the fold of 32 points alone, Σ λ_{32j ± k} < 5e-4.
    ‖H - H∞‖ ∝ m^(-1/2) (TRUTHS.md, section 1): 1/4 from 64 to 1024, ± 40 % for 4 seeds that scatter
    by a third each, at both ends.
    """
    from sims.lab import cells

    for row in results.rows:
        assert row.theory - 1e-9 < row.value < row.theory + 5e-4
    files = [cells.read(results.folder / f"m{m:06}.npz")[1] for m in (64, 1024)]
    ratio = files[1]["apart"].mean() / files[0]["apart"].mean()
    assert 0.25 / 1.4 < ratio < 0.25 * 1.4
    said = dict(figures.said(kernel_spectra.figure(results)))
    assert "slope −0." in said["The spectrum at finite width"]
    figures.plt.close("all")
    direct = ntk.empirical(
        measures.network(), measures.LAW.sample(8, 0), measures.dataset(results.config).x
    )
    assert measures.in_modes(direct, 32).sum() == pytest.approx(np.trace(direct) / 32, rel=1e-12)


def test_waves_that_points_cannot_tell_apart_are_refused():
    with pytest.raises(ValueError, match="at most n/2 = 6"):
        kernel_spectra.Config(n=12, degrees=9)
    with pytest.raises(ValueError, match="must be even"):
        kernel_spectra.Config(widths=(7, 16))
