"""Slow, obvious twins of the fast routines: plain loops in float64 over particles, samples, outputs
and columns.

The formulas are THEORY.md's, sections 1, 2 and 6, one function each. m neurons theta (m, p) with
columns [a | w | b], masses mass (m,), n samples x (n, d), K outputs; `activation` is an Activation,
`network` a Network, `state` a State.
"""

from itertools import permutations

import numpy as np

from meanfield.formulas import losses


def phi(theta_k, x_i, activation, outputs):
    """φ(θ; x) = a σ(⟨w, x⟩ + b), (K,)."""
    a, w, b = theta_k[:outputs], theta_k[outputs:-1], theta_k[-1]
    z = float(b)
    for w_j, x_j in zip(w, x_i, strict=True):
        z += float(w_j) * float(x_j)
    return np.array([float(a_c) * activation.value(z) for a_c in a])


def grad_phi(theta_k, x_i, activation, outputs):
    """∂φ_c/∂θ_j, (K, p): σ(z) for a_c, a_c σ'(z) x for w, a_c σ'(z) for b."""
    a, w, b = theta_k[:outputs], theta_k[outputs:-1], theta_k[-1]
    z = float(b)
    for w_j, x_j in zip(w, x_i, strict=True):
        z += float(w_j) * float(x_j)
    value, slope = activation.value(z), activation.slope(z)
    gradient = np.zeros((outputs, len(theta_k)))
    for c in range(outputs):
        gradient[c, c] = value
        for j in range(len(w)):
            gradient[c, outputs + j] = float(a[c]) * slope * float(x_i[j])
        gradient[c, -1] = float(a[c]) * slope
    return gradient


def mean_feature(theta, mass, x, activation, outputs):
    """Σ_k p_k φ(θ_k; x_i), (n, K)."""
    total = np.zeros((len(x), outputs))
    for i in range(len(x)):
        for k in range(len(theta)):
            total[i] += float(mass[k]) * phi(theta[k], x[i], activation, outputs)
    return total


def pull_back(theta, x, slopes, activation, outputs):
    """Σ_i Σ_c slopes_ic ∇_θ φ_c(θ_k; x_i), (m, p); slopes (n, K)."""
    total = np.zeros(theta.shape)
    for k in range(len(theta)):
        for i in range(len(x)):
            gradient = grad_phi(theta[k], x[i], activation, outputs)
            for c in range(outputs):
                total[k] += float(slopes[i][c]) * gradient[c]
    return total


def push_forward(theta, mass, x, u, activation, outputs):
    """Σ_k p_k ∇_θ φ_c(θ_k; x_i) · u_k, (n, K); u (m, p) is a direction for every particle."""
    total = np.zeros((len(x), outputs))
    for i in range(len(x)):
        for k in range(len(theta)):
            gradient = grad_phi(theta[k], x[i], activation, outputs)
            for c in range(outputs):
                for j in range(theta.shape[1]):
                    total[i, c] += float(mass[k]) * gradient[c, j] * float(u[k, j])
    return total


def predict(network, state, x):
    """f(x_i) = s Σ_k p_k φ(θ_k; x_i), (n, K)."""
    s = network.scaling.output_scale(state.m)
    return s * mean_feature(state.theta, state.mass, x, network.sigma, state.outputs)


def loss_slopes(f, y, loss, reduction):
    """∂R/∂f_ic, (n, K)."""
    loss = losses.get(loss)
    y = losses.check_labels(loss, y, len(f))
    slopes = np.zeros(f.shape)
    for i in range(len(f)):
        if loss.coupled:
            loss.slope(f[i], y[i], slopes[i])
        else:
            for c in range(f.shape[1]):
                slopes[i, c] = loss.slope(f[i, c], y[i, c])
    return slopes / len(f) if reduction == "mean" else slopes


def risk(network, state, x, y, loss="squared", reduction="mean"):
    """R = (1/n) Σ_i Σ_c ℓ(f_c(x_i), y_ic), without 1/n for reduction = "sum"."""
    f = predict(network, state, x)
    loss = losses.get(loss)
    y = losses.check_labels(loss, y, len(f))
    total = 0.0
    for i in range(len(f)):
        if loss.coupled:
            total += loss.value(f[i], y[i])
        else:
            for c in range(f.shape[1]):
                total += loss.value(f[i, c], y[i, c])
    return total / len(f) if reduction == "mean" else total


def regulariser(network, state, ridge):
    """r(θ_k) = λ/2 |θ_k|² over the trainable columns, (m,)."""
    trained = network.trainable_columns(state.dim, state.outputs)
    r = np.zeros(state.m)
    for k in range(state.m):
        for j in range(state.theta.shape[1]):
            if trained[j]:
                r[k] += 0.5 * ridge * float(state.theta[k, j]) ** 2
    return r


def energy(network, state, x, y, loss="squared", reduction="mean", ridge=0.0):
    """F_s = R/s² + Σ_k p_k r(θ_k)."""
    s = network.scaling.output_scale(state.m)
    total = risk(network, state, x, y, loss, reduction) / s**2
    for p_k, r_k in zip(state.mass, regulariser(network, state, ridge), strict=True):
        total += float(p_k) * float(r_k)
    return total


def first_variation(network, state, x, y, loss="squared", reduction="mean", ridge=0.0):
    """δF/δμ(θ_k) = s^{-1} Σ_i ∂R/∂f(x_i) · φ(θ_k; x_i) + r(θ_k), (m,)."""
    s = network.scaling.output_scale(state.m)
    slopes = loss_slopes(predict(network, state, x), y, loss, reduction)
    variation = regulariser(network, state, ridge)
    for k in range(state.m):
        for i in range(len(x)):
            feature = phi(state.theta[k], x[i], network.sigma, state.outputs)
            for c in range(state.outputs):
                variation[k] += slopes[i, c] * feature[c] / s
    return variation


def velocity(network, state, x, y, loss="squared", reduction="mean", ridge=0.0):
    """v(θ_k) = -s^{-1} Σ_i ∂R/∂f(x_i) · ∇φ(θ_k; x_i) - λ θ_k on the trainable columns, 0 on the
    others, (m, p).
    """
    s = network.scaling.output_scale(state.m)
    slopes = loss_slopes(predict(network, state, x), y, loss, reduction)
    v = -pull_back(state.theta, x, slopes, network.sigma, state.outputs) / s - ridge * np.asarray(
        state.theta, dtype=np.float64
    )
    for j, trained in enumerate(network.trainable_columns(state.dim, state.outputs)):
        if not trained:
            v[:, j] = 0.0
    return v


def _in_the_plane(w, v, angles, radii):
    """Points and weights (x, weight) of a rule for E over x ~ N(0, I) of functions of ⟨w, x⟩ and
    ⟨v, x⟩ with kinks at 0.

    Polar coordinates in the plane of w and v: Gauss–Legendre in r on [0, 9.5] for r e^{-r²/2} dr,
    and in the angle between the four directions in which one of the two changes sign, so many nodes
    each. The part of x outside of the plane is 0 on average.
    """
    w, v = np.asarray(w, dtype=float), np.asarray(v, dtype=float)
    first = w / np.linalg.norm(w) if w.any() else np.eye(len(w))[0]
    rest = v - (v @ first) * first
    if np.linalg.norm(rest) < 1e-14 * np.linalg.norm(v) or not rest.any():
        rest = np.eye(len(w))[np.argmin(abs(first))]
        rest -= (rest @ first) * first
    second = rest / np.linalg.norm(rest) if len(w) > 1 else 0 * first
    across = np.arctan2(v @ second, v @ first) if len(w) > 1 else 0.0
    kinks = sorted(
        {
            float(np.mod(angle, 2 * np.pi))
            for angle in (np.pi / 2, -np.pi / 2, across + np.pi / 2, across - np.pi / 2)
        }
    )
    nodes, weights = np.polynomial.legendre.leggauss(angles)
    radial, radial_weights = np.polynomial.legendre.leggauss(radii)
    r, r_weight = 4.75 * (radial + 1), 4.75 * radial_weights
    for start, stop in zip(kinks, [*kinks[1:], kinks[0] + 2 * np.pi], strict=True):
        for node, weight in zip(nodes, weights, strict=True):
            angle = start + 0.5 * (stop - start) * (node + 1)
            direction = np.cos(angle) * first + np.sin(angle) * second
            for r_i, weight_i in zip(r, r_weight, strict=True):
                yield (
                    r_i * direction,
                    0.5
                    * (stop - start)
                    * weight
                    * weight_i
                    * r_i
                    * np.exp(-0.5 * r_i**2)
                    / (2 * np.pi),
                )


def pair_kernel(sigma, w, v, angles=24, radii=48):
    """(K, ∇_w K): E[σ(⟨w,x⟩)σ(⟨v,x⟩)] and E[σ'(⟨w,x⟩)σ(⟨v,x⟩) x], x ~ N(0, I_d), d >= 2, by a rule
    in the plane of w and v.
    """
    K, gradient = 0.0, np.zeros(len(w))
    for x, weight in _in_the_plane(w, v, angles, radii):
        z, y = float(x @ w), float(x @ v)
        K += weight * sigma.value(z) * sigma.value(y)
        gradient += weight * sigma.slope(z) * sigma.value(y) * x
    return K, gradient


def population(network, state, teacher, ridge=0.0, angles=12, radii=20):
    """(R, F_s, δF/δμ (m,), v (m, p)) of R = ½ E|f - f*|²: sums over all pairs, one by one.
    THEORY.md, section 4.
    """
    s, K, m = network.scaling.output_scale(state.m), state.outputs, state.m
    w = [*state.w.astype(float), *teacher.w.astype(float)]
    A = [*(state.mass[:, None] * state.a), *(-teacher.mass[:, None] * teacher.a / s)]
    R, variation, v = 0.0, regulariser(network, state, ridge), np.zeros(state.theta.shape)
    for k in range(len(w)):
        for other in range(len(w)):
            kernel, gradient = pair_kernel(network.sigma, w[k], w[other], angles, radii)
            R += 0.5 * s**2 * float(A[k] @ A[other]) * kernel
            if k < m:
                variation[k] += float(state.a[k] @ A[other]) * kernel
                v[k, :K] -= A[other] * kernel
                v[k, K:-1] -= float(state.a[k] @ A[other]) * gradient
    v -= ridge * state.theta
    v[:, ~network.trainable_columns(state.dim, K)] = 0.0
    regular = sum(
        float(p) * float(r)
        for p, r in zip(state.mass, regulariser(network, state, ridge), strict=True)
    )
    return R, R / s**2 + regular, variation, v


def tangent_kernel(network, state, x1, x2=None, columns=None):
    """H_cc'(x, x') = Σ_k p_k Σ_j ∂_j φ_c(θ_k; x) ∂_j φ_c'(θ_k; x') over the trainable columns j, or
    those of `columns`.

    (n1, n2), for K > 1 (n1, n2, K, K); columns: boolean (p,), one block say.
    """
    x2 = x1 if x2 is None else x2
    K = state.outputs
    if columns is None:
        columns = network.trainable_columns(state.dim, K)
    H = np.zeros((len(x1), len(x2), K, K))
    for k in range(state.m):
        first = [grad_phi(state.theta[k], x_i, network.sigma, K) for x_i in x1]
        second = [grad_phi(state.theta[k], x_i, network.sigma, K) for x_i in x2]
        for i in range(len(x1)):
            for i2 in range(len(x2)):
                for c in range(K):
                    for c2 in range(K):
                        for j in np.flatnonzero(columns):
                            H[i, i2, c, c2] += (
                                float(state.mass[k]) * first[i][c, j] * second[i2][c2, j]
                            )
    return H[:, :, 0, 0] if K == 1 else H


def euler_step(v, theta, dt):
    """θ + dt v(θ)."""
    return theta + dt * v(theta)


def heun_step(v, theta, dt):
    """θ + dt/2 (v(θ) + v(θ + dt v(θ)))."""
    v1 = v(theta)
    v2 = v(theta + dt * v1)
    return theta + dt / 2 * (v1 + v2)


def rk4_step(v, theta, dt):
    """The classical Runge–Kutta step of order four."""
    v1 = v(theta)
    v2 = v(theta + dt / 2 * v1)
    v3 = v(theta + dt / 2 * v2)
    v4 = v(theta + dt * v3)
    return theta + dt / 6 * (v1 + 2 * v2 + 2 * v3 + v4)


def runge_kutta_step(v, theta, dt, a, b):
    """θ + dt Σ_i b_i k_i, k_i = v(θ + dt Σ_j a_ij k_j): Hairer, Nørsett and Wanner, I, II.1.8."""
    k = []
    for row in a:
        k.append(v(theta + dt * sum(c * earlier for c, earlier in zip(row, k, strict=True))))
    return theta + dt * sum(c * stage for c, stage in zip(b, k, strict=True))


def displacement(theta, theta2, mass):
    """(Σ_k p_k |θ_k - θ'_k|²)^{1/2}."""
    total = 0.0
    for k in range(len(theta)):
        for j in range(theta.shape[1]):
            total += float(mass[k]) * (float(theta[k, j]) - float(theta2[k, j])) ** 2
    return total**0.5


def balance_defect(start, end, p):
    """max_k |I_k(t) - I_k(0)| / max_k |θ_k(0)|² with I_k = |w_k|² + b_k² - p|a_k|², in float64."""

    def invariant(state, k):
        rest = list(state.w[k]) + [state.b[k]]
        return sum(float(v) ** 2 for v in rest) - p * sum(float(v) ** 2 for v in state.a[k])

    change = max(abs(invariant(end, k) - invariant(start, k)) for k in range(start.m))
    return change / max(sum(float(v) ** 2 for v in row) for row in start.theta)


def w2(theta, theta2):
    """Exact W2 of two clouds of m equal masses: the best of all m! matchings (m up to 7)."""
    m = len(theta)
    if m > 7 or len(theta2) != m:
        raise ValueError(
            f"brute force is for two clouds of the same m <= 7; got {m} and {len(theta2)}."
        )
    cost = np.array(
        [
            [sum((float(u) - float(v)) ** 2 for u, v in zip(p, q, strict=True)) for q in theta2]
            for p in theta
        ]
    )
    return (
        min(sum(cost[k, match[k]] for k in range(m)) / m for match in permutations(range(m))) ** 0.5
    )


def _amplitude_and_direction(state, k):
    """|a_k||v_k| and v_k/|v_k| of neuron k, v_k = (w_k, b_k), in plain sums."""
    v = [float(value) for value in state.theta[k, state.outputs :]]
    length = sum(value**2 for value in v) ** 0.5
    a = sum(float(value) ** 2 for value in state.a[k]) ** 0.5
    return a * length, [value / length if length else 0.0 for value in v]


def relative_change(start, end):
    """(Σ_k p_k |v_k(t) - v_k(0)|² / Σ_k p_k |v_k(0)|²)^{1/2}, v_k = (w_k, b_k)."""
    above = below = 0.0
    for k in range(start.m):
        for j in range(start.outputs, start.theta.shape[1]):
            above += float(start.mass[k]) * (float(end.theta[k, j]) - float(start.theta[k, j])) ** 2
            below += float(start.mass[k]) * float(start.theta[k, j]) ** 2
    return (above / below) ** 0.5


def effective_neurons(state):
    """(Σ_k p_k A_k)² / Σ_k (p_k A_k)²."""
    shares = [float(state.mass[k]) * _amplitude_and_direction(state, k)[0] for k in range(state.m)]
    return sum(shares) ** 2 / sum(share**2 for share in shares)


def alignment(state):
    """(D ∬ ⟨u, u'⟩² dρ dρ' - 1)/(D - 1): a double loop over pairs of neurons."""
    found = [_amplitude_and_direction(state, k) for k in range(state.m)]
    shares = [float(state.mass[k]) * found[k][0] for k in range(state.m)]
    D, total = state.dim + 1, 0.0
    for k in range(state.m):
        for i in range(state.m):
            cosine = sum(p * q for p, q in zip(found[k][1], found[i][1], strict=True))
            total += shares[k] * shares[i] * cosine**2
    return (D * total / sum(shares) ** 2 - 1) / (D - 1)


def cluster_masses(state, degrees, share):
    """Shares of the leader clusters, largest first: a loop over leaders, one over neurons."""
    found = [_amplitude_and_direction(state, k) for k in range(state.m)]
    shares = np.array([float(state.mass[k]) * found[k][0] for k in range(state.m)])
    shares = shares / shares.sum()
    free, masses = [k for k in range(state.m) if shares[k] > 0], []
    while free and sum(masses) < share:
        leader = max(free, key=lambda k: shares[k])
        members = []
        for k in free:
            cosine = sum(p * q for p, q in zip(found[k][1], found[leader][1], strict=True))
            if k == leader or cosine >= np.cos(degrees * np.pi / 180):
                members.append(k)
        masses.append(sum(shares[k] for k in members))
        free = [k for k in free if k not in members]
    return sorted(masses, reverse=True)


def budget(network, states, x, y, loss="squared", reduction="mean"):
    """-∫ H_0 ∂R/∂f dt and -∫ (H_t - H_0) ∂R/∂f dt up to each state, by the trapezoid: two arrays
    (states, n, K).
    """
    first = tangent_kernel(network, states[0], x)
    rates = []
    for state in states:
        slopes = np.asarray(loss_slopes(predict(network, state, x), y, loss, reduction)).reshape(
            len(x), -1
        )
        H = tangent_kernel(network, state, x)
        rates.append([-_times(first, slopes), -_times(H - first, slopes)])
    found = [[np.zeros_like(rate) for rate in rates[0]]]
    for number in range(1, len(states)):
        dt = states[number].t - states[number - 1].t
        found.append(
            [found[-1][i] + dt / 2 * (rates[number - 1][i] + rates[number][i]) for i in range(2)]
        )
    return np.array(found).transpose(1, 0, 2, 3)


def _times(H, v):
    """Σ_j Σ_e H(x_i, x_j)_ce v_je for H (n, n) or (n, n, K, K): (n, K)."""
    H = H[:, :, None, None] if H.ndim == 2 else H
    n, K = v.shape
    return np.array(
        [
            [sum(H[i, j, c, e] * v[j, e] for j in range(n) for e in range(K)) for c in range(K)]
            for i in range(n)
        ]
    )


def best_assignment(theta, theta2, twin=None):
    """(assignment, W2) of two clouds of m equal masses by the Hungarian method; a particle of the
    second is its twin too.
    """
    from scipy.optimize import linear_sum_assignment

    cost = np.empty((len(theta), len(theta2)))
    for i, x in enumerate(theta):
        for j, y in enumerate(theta2):
            options = [y] if twin is None else [y, y * twin]
            cost[i, j] = min(
                sum((float(u) - float(v)) ** 2 for u, v in zip(x, option, strict=True))
                for option in options
            )
    rows, columns = linear_sum_assignment(cost)
    return columns, float(np.sqrt(cost[rows, columns].mean()))


def centred_alignment(H, y):
    """⟨CHC, yyᵀ⟩/(‖CHC‖ ‖yyᵀ‖), Frobenius, entry by entry: H (n, n) or (n, n, K, K), y (n, K), C
    takes the means out.
    """
    n = len(y)
    H = H[:, :, None, None] if H.ndim == 2 else H
    shared = H.shape[2] == 1 and y.shape[1] > 1  # one kernel for all outputs
    centred, target = np.zeros(H.shape), y - y.sum(axis=0) / n
    for i in range(n):
        for j in range(n):
            centred[i, j] = (
                H[i, j] - H[:, j].sum(axis=0) / n - H[i].sum(axis=0) / n + H.sum(axis=(0, 1)) / n**2
            )
    product = size_H = size_y = 0.0
    for i in range(n):
        for j in range(n):
            for c in range(y.shape[1]):
                for e in range(y.shape[1]):
                    if not shared:
                        product += centred[i, j, c, e] * target[i, c] * target[j, e]
                        size_H += centred[i, j, c, e] ** 2
                        size_y += (target[i, c] * target[j, e]) ** 2
            if shared:
                inner = sum(target[i, c] * target[j, c] for c in range(y.shape[1]))
                product, size_H, size_y = (
                    product + centred[i, j, 0, 0] * inner,
                    size_H + centred[i, j, 0, 0] ** 2,
                    size_y + inner**2,
                )
    return product / (size_H * size_y) ** 0.5


def effective_rank(H):
    """exp of the entropy of the normalised eigenvalues of the matrix with row (i, c) and column (j,
    e).
    """
    n, K = len(H), 1 if H.ndim == 2 else H.shape[2]
    matrix = np.zeros((n * K, n * K))
    for i in range(n):
        for j in range(n):
            for c in range(K):
                for e in range(K):
                    matrix[i * K + c, j * K + e] = H[i, j] if H.ndim == 2 else H[i, j, c, e]
    values = [max(float(value), 0.0) for value in np.linalg.eigvals(matrix).real]
    total = sum(values)
    return float(
        np.exp(-sum(value / total * np.log(value / total) for value in values if value > 0))
    )


def pre_activation(state, k, x_i):
    """⟨w_k, x_i⟩ + b_k."""
    return sum(float(w) * float(x) for w, x in zip(state.w[k], x_i, strict=True)) + float(
        state.b[k]
    )


def sign_flips(start, end, x):
    """The share of (neuron, sample) pairs whose z > 0 has changed, neurons weighted by their
    masses.
    """
    total = 0.0
    for k in range(end.m):
        for x_i in x:
            total += (
                float(end.mass[k])
                * ((pre_activation(start, k, x_i) > 0) != (pre_activation(end, k, x_i) > 0))
                / len(x)
            )
    return total


def dead_units(state, x, activation):
    """The mass of the neurons with σ'(z) = 0 on every sample."""
    return sum(
        float(state.mass[k])
        for k in range(state.m)
        if all(activation.slope(pre_activation(state, k, x_i)) == 0 for x_i in x)
    )


def margins(f, y):
    """y f for signs (n, K); for classes (n,) f_y minus the largest other output."""
    if y.ndim == 2:
        return [float(y[i, c]) * float(f[i, c]) for i in range(len(y)) for c in range(y.shape[1])]
    return [
        float(f[i, y[i]]) - max(float(f[i, c]) for c in range(f.shape[1]) if c != y[i])
        for i in range(len(y))
    ]


def active_samples(state, k, x):
    """The set of samples with z = b + w_0 x_0 + … > 0, summed in this order in the dtype of θ."""
    T = state.theta.dtype.type
    found = set()
    for i, x_i in enumerate(x):
        z = state.b[k]
        for w_j, x_j in zip(state.w[k], x_i, strict=True):
            z = T(z + T(w_j * T(x_j)))
        if z > 0:
            found.add(i)
    return found


def angle(state, k, other):
    """Degrees between (w_k, b_k) and that of another neuron, from the chord of the unit vectors;
    NaN for a zero vector.
    """
    units = []
    for index in (k, other):
        v = [float(value) for value in state.theta[index, state.outputs :]]
        length = sum(value * value for value in v) ** 0.5
        if length == 0:
            return float("nan")
        units.append([value / length for value in v])
    chord = sum((p - q) ** 2 for p, q in zip(*units, strict=True)) ** 0.5
    return float(np.degrees(2 * np.arcsin(min(1.0, chord / 2))))


def events(states, x, degrees, tracked, mortal):
    """What mf.Events lists for samplings at these states: (step, time, kind, neuron, other, value),
    in this order.
    """
    rows, before = [], None
    for state in states:
        pairs = [
            (k, j)
            for k in range(min(tracked, state.m))
            for j in range(k + 1, min(tracked, state.m))
        ]
        angles = {pair: angle(state, *pair) for pair in pairs}
        now = (
            [active_samples(state, k, x) for k in range(state.m)],
            {pair for pair in pairs if angles[pair] <= degrees},
        )
        if before is not None:
            found = [
                ("flip", k, i, float(i in now[0][k]))
                for k in range(state.m)
                for i in sorted(now[0][k] ^ before[0][k])
            ]
            for kind, then, after in (("death", before[0], now[0]), ("revival", now[0], before[0])):
                found += [
                    (kind, k, -1, float(len(then[k])))
                    for k in range(state.m)
                    if mortal and then[k] and not after[k]
                ]
            found += [("merge", *pair, angles[pair]) for pair in sorted(now[1] - before[1])]
            found += [("split", *pair, angles[pair]) for pair in sorted(before[1] - now[1])]
            rows += [(state.step, state.t, *row) for row in found]
        before = now
    return rows


def pair_energy(energy, state):
    """Σ_k p_k V(x_k) + ½ Σ_k Σ_l p_k p_l U(x_k, x_l), without l = k for self_pairs = False."""
    variation, alone = pair_first_variation(energy, state), np.zeros(state.m)
    for k in range(state.m):
        alone[k] = energy.potential[0](state.theta[k]) if energy.potential else 0.0
    return float(sum(p * (v + w) for p, v, w in zip(state.mass, alone, variation, strict=True))) / 2


def pair_first_variation(energy, state):
    """V(x_k) + Σ_l p_l U(x_k, x_l), (m,)."""
    total = np.zeros(state.m)
    for k in range(state.m):
        if energy.potential:
            total[k] += energy.potential[0](state.theta[k])
        for l in range(state.m):  # noqa: E741
            if energy.interaction and (energy.self_pairs or l != k):
                total[k] += float(state.mass[l]) * energy.interaction[0](
                    state.theta[k], state.theta[l]
                )
    return total


def pair_velocity(energy, state):
    """-∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l), (m, p)."""
    total, out = np.zeros(state.theta.shape), np.zeros(state.theta.shape[1])
    for k in range(state.m):
        if energy.potential:
            out[:] = 0.0
            energy.potential[1](state.theta[k], out)
            total[k] -= out
        for l in range(state.m):  # noqa: E741
            if energy.interaction and (energy.self_pairs or l != k):
                out[:] = 0.0
                energy.interaction[1](state.theta[k], state.theta[l], out)
                total[k] -= float(state.mass[l]) * out
    return total
