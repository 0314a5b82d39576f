"""Potentials and interactions of any dimension for the tests of pairwise energies, as a user would
write them.
"""

from math import exp, log, sqrt


def well(x):
    """¼|x|⁴ + Σ_j (j + 1) x_j: neither even nor the same along two axes."""
    r2, tilt = 0.0, 0.0
    for j in range(x.size):
        r2 += x[j] ** 2
        tilt += (j + 1) * x[j]
    return 0.25 * r2 * r2 + tilt


def grad_well(x, out):
    r2 = 0.0
    for j in range(x.size):
        r2 += x[j] ** 2
    for j in range(x.size):
        out[j] = r2 * x[j] + (j + 1)


def quadratic(x):
    total = 0.0
    for j in range(len(x)):
        total += 0.5 * x[j] * x[j]
    return total


def grad_quadratic(x, out):
    for j in range(len(x)):
        out[j] = x[j]


def square_distance(x, y):
    total = 0.0
    for j in range(x.size):
        total += (x[j] - y[j]) ** 2
    return total


def gaussian(x, y):
    """A Gaussian kernel times something that is not a function of x - y, so that the gradient's
    argument matters.
    """
    product = 0.0
    for j in range(x.shape[0]):
        product += x[j] * y[j]
    return exp(-0.5 * square_distance(x, y)) + 0.1 * product * product


def grad_gaussian(x, y, out):
    product = 0.0
    for j in range(x.shape[0]):
        product += x[j] * y[j]
    e = exp(-0.5 * square_distance(x, y))
    for j in range(x.shape[0]):
        out[j] = -(x[j] - y[j]) * e + 0.2 * product * y[j]


def spring(x, y):
    return 0.5 * square_distance(x, y)


def grad_spring(x, y, out):
    for j in range(x.size):
        out[j] = x[j] - y[j]


def coulomb(x, y):
    """-log|x - y|: infinite at x = y."""
    return -log(sqrt(square_distance(x, y)))


def grad_coulomb(x, y, out):
    r2 = square_distance(x, y)
    for j in range(x.size):
        out[j] = -(x[j] - y[j]) / r2


def kink(x, y):
    """½ r² - |r| on the line: particles repel up to a distance of 1 and attract beyond."""
    r = x[0] - y[0]
    return 0.5 * r * r - abs(r)


def grad_kink(x, y, out):
    r = x[0] - y[0]
    sign = 1.0 if r > 0.0 else -1.0
    out[0] = r - (0.0 if r == 0.0 else sign)


def contact(x, y):
    """½ (1 - r/c)² within r < c = √p: particles that touch."""
    r2, cut2 = square_distance(x, y), 1.0 * x.size
    return 0.5 * (1.0 - sqrt(r2 / cut2)) ** 2 if r2 < cut2 else 0.0


def grad_contact(x, y, out):
    """Assigned only where it is not 0."""
    r2, cut2 = square_distance(x, y), 1.0 * x.size
    if 0.0 < r2 < cut2:
        factor = 1.0 / cut2 - 1.0 / sqrt(r2 * cut2)
        for j in range(x.size):
            out[j] = factor * (x[j] - y[j])


def wall(x):
    """½ x_0² where x_0 > 0: a wall on one side, along one axis."""
    return 0.5 * x[0] * x[0] if x[0] > 0.0 else 0.0


def grad_wall(x, out):
    if x[0] > 0.0:
        out[0] = x[0]


WELL, QUADRATIC = (well, grad_well), (quadratic, grad_quadratic)
GAUSSIAN, SPRING, COULOMB, KINK = (
    (gaussian, grad_gaussian),
    (spring, grad_spring),
    (coulomb, grad_coulomb),
    (kink, grad_kink),
)
CONTACT, WALL = (contact, grad_contact), (wall, grad_wall)  # gradients that leave out what is 0
