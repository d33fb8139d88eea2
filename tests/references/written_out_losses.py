"""Losses one pair after another, in Python floats, from the formulas of the papers and by nothing of ours.

Vectors are lists of floats. A denominator is a sum of exponentials, as it is printed; only for ordinary numbers.
"""

import math
from collections.abc import Callable, Sequence

Vector = Sequence[float]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def softmax(row: Vector) -> list[float]:
    powers = [math.exp(value) for value in row]
    return [power / math.fsum(powers) for power in powers]


def entropy(p: Vector) -> float:
    return -math.fsum(x * math.log(x) for x in p if x > 0)


def cross_entropy(target: Vector, logits: Vector) -> float:
    return -math.fsum(t * math.log(p) for t, p in zip(target, softmax(logits), strict=True) if t > 0)


def columns(rows: Sequence[Vector]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


def contrast(
    rows: Sequence[Vector],
    others: Sequence[Vector],
    weight: Callable[[int, int], float],
    inside: Callable[[int, int], float],
    temperature: float,
) -> float:
    """Mean over rows of - sum_j w_ij log(exp s_ij / sum_k d_ik exp s_ik) / sum_j w_ij; rows without either dropped."""
    terms = []
    for i, row in enumerate(rows):
        power = [math.exp(cosine(row, other) / temperature) for other in others]
        denominator = math.fsum(inside(i, k) * power[k] for k in range(len(others)))
        total = math.fsum(weight(i, j) for j in range(len(others)))
        if denominator > 0 and total > 0:
            pairs = [weight(i, j) * math.log(power[j] / denominator) for j in range(len(others)) if weight(i, j)]
            terms.append(-math.fsum(pairs) / total)
    return mean(terms) if terms else 0.0


def two_views(z0: Sequence[Vector], z1: Sequence[Vector], weight: Callable, inside: Callable, t: float) -> float:
    """Contrast of all views among each other; row i shows film i mod n."""
    z = [*z0, *z1]
    return contrast(z, z, weight, lambda i, k: i != k and inside(i, k), t)


def two_modalities(
    z0: Sequence[Vector], z1: Sequence[Vector], weight: Callable, inside: Callable, t: float, balance: float
) -> float:
    there = contrast(z0, z1, weight, inside, t)
    return balance * there + (1 - balance) * contrast(z1, z0, weight, inside, t)


def nnclr(z0: Sequence[Vector], z1: Sequence[Vector], memory: Sequence[Vector], t: float, k: int) -> float:
    terms = []
    for i, z in enumerate(z0):
        nearest = sorted(memory, key=lambda stored: -cosine(stored, z))[:k]
        for stored in nearest:
            power = [math.exp(cosine(stored, p) / t) for p in z1]
            terms.append(-math.log(power[i] / math.fsum(power)))
    return mean(terms)


def siglip(z0: Sequence[Vector], z1: Sequence[Vector], scale: float, bias: float) -> float:
    total = 0.0
    for i, a in enumerate(z0):
        for j, b in enumerate(z1):
            sign = 1 if i == j else -1
            total += math.log(1 + math.exp(-sign * (scale * cosine(a, b) + bias)))
    return total / len(z0)


def rank_n_contrast(z: Sequence[Vector], y: Vector, t: float) -> float:
    def power(i: int, j: int) -> float:
        return math.exp(-math.dist(z[i], z[j]) / t)

    terms = []
    for i in range(len(z)):
        others = [k for k in range(len(z)) if k != i]
        for j in others:
            denominator = [power(i, k) for k in others if abs(y[i] - y[k]) >= abs(y[i] - y[j])]
            terms.append(-math.log(power(i, j) / math.fsum(denominator)))
    return mean(terms)


def barlow_twins(z0: Sequence[Vector], z1: Sequence[Vector], lambda_: float) -> float:
    def standard(z: Sequence[Vector]) -> list[list[float]]:
        result = []
        for channel in columns(z):
            centre = mean(channel)
            variance = mean([(value - centre) ** 2 for value in channel])
            result.append([(value - centre) / math.sqrt(variance + 1e-5) for value in channel])
        return result

    a, b = standard(z0), standard(z1)
    total = 0.0
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            correlation = dot(first, second) / len(z0)
            total += (correlation - 1) ** 2 if i == j else lambda_ * correlation**2
    return total


def vicreg(z0: Sequence[Vector], z1: Sequence[Vector], weights: tuple[float, float, float]) -> float:
    n, d = len(z0), len(z0[0])
    invariance = mean([(x - y) ** 2 for a, b in zip(z0, z1, strict=True) for x, y in zip(a, b, strict=True)])
    variance = covariance = 0.0
    for z in (z0, z1):
        centred = [[value - mean(channel) for value in channel] for channel in columns(z)]
        deviations = [math.sqrt(dot(channel, channel) / (n - 1) + 1e-4) for channel in centred]
        variance += mean([max(0.0, 1 - deviation) for deviation in deviations]) / 2
        covariance += math.fsum(
            (dot(centred[i], centred[j]) / (n - 1)) ** 2 for i in range(d) for j in range(d) if i != j
        )
    return weights[0] * invariance + weights[1] * variance + weights[2] * covariance / d


def tico(
    z0: Sequence[Vector], z1: Sequence[Vector], moments: Sequence[Vector], rho: float, beta: float
) -> tuple[float, list[list[float]]]:
    a = [[value / math.sqrt(dot(z, z)) for value in z] for z in z0]
    d = range(len(moments))
    new = [[beta * moments[i][j] + (1 - beta) * mean([z[i] * z[j] for z in a]) for j in d] for i in d]
    invariance = 1 - mean([cosine(x, y) for x, y in zip(z0, z1, strict=True)])
    contrast_ = mean([math.fsum(z[i] * new[i][j] * z[j] for i in d for j in d) for z in a])
    return invariance + rho * contrast_, new


def dino(students: Sequence, teachers: Sequence, center: Vector, student_t: float, teacher_t: float) -> float:
    terms = []
    for g, teacher in enumerate(teachers):
        for s, student in enumerate(students):
            if g != s:
                for target, logits in zip(teacher, student, strict=True):
                    sharpened = softmax([(x - c) / teacher_t for x, c in zip(target, center, strict=True)])
                    terms.append(cross_entropy(sharpened, [x / student_t for x in logits]))
    return mean(terms)


def sinkhorn(scores: Sequence[Vector], epsilon: float, iterations: int) -> list[list[float]]:
    q = [[math.exp(value / epsilon) for value in row] for row in scores]
    for _ in range(iterations):
        sums = [math.fsum(column) for column in columns(q)]
        q = [[value / total / len(sums) for value, total in zip(row, sums, strict=True)] for row in q]
        q = [[value / math.fsum(row) / len(q) for value in row] for row in q]
    return [[value * len(q) for value in row] for row in q]


def swav(scores: Sequence[Sequence[Vector]], t: float, epsilon: float, iterations: int) -> float:
    """The first two crops are assigned."""
    terms = []
    for assigned in (0, 1):
        q = sinkhorn(scores[assigned], epsilon, iterations)
        for predicted, crop in enumerate(scores):
            if predicted != assigned:
                terms += [cross_entropy(a, [x / t for x in row]) for a, row in zip(q, crop, strict=True)]
    return mean(terms)


def dec(z: Sequence[Vector], centres: Sequence[Vector], alpha: float) -> tuple[float, list, list]:
    """Loss, assignments q and targets p."""
    q = []
    for vector in z:
        row = [(1 + math.dist(vector, centre) ** 2 / alpha) ** (-(alpha + 1) / 2) for centre in centres]
        q.append([value / math.fsum(row) for value in row])
    frequency = [math.fsum(column) for column in columns(q)]
    p = []
    for assignment in q:
        row = [value**2 / total for value, total in zip(assignment, frequency, strict=True)]
        p.append([value / math.fsum(row) for value in row])
    divergences = [
        math.fsum(b * math.log(b / a) for a, b in zip(of_q, of_p, strict=True)) for of_q, of_p in zip(q, p, strict=True)
    ]
    return mean(divergences), q, p


def scan(anchors: Sequence[Vector], neighbours: Sequence[Vector], weight: float) -> float:
    a, b = [softmax(row) for row in anchors], [softmax(row) for row in neighbours]
    agreement = mean([-math.log(dot(x, y)) for x, y in zip(a, b, strict=True)])
    return agreement - weight * entropy([mean(column) for column in columns(a)])


def cc_cluster(logits0: Sequence[Vector], logits1: Sequence[Vector], t: float) -> float:
    first, second = (columns([softmax(row) for row in logits]) for logits in (logits0, logits1))
    k = len(first)
    contrast_ = two_views(first, second, lambda i, j: float(i != j and i % k == j % k), lambda i, j: 1.0, t)
    sizes = [[mean(cluster) for cluster in clusters] for clusters in (first, second)]
    return contrast_ + sum(math.log(k) - entropy(p) for p in sizes)
