"""CMA-ES on the unit cube, for errors that stick and slip.

Source: Hansen, "The CMA Evolution Strategy: A Tutorial" (2016), with its default constants.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Search:
    """How long, and how widely, a search goes."""

    generations: int
    population: int = 16
    spread: float = 0.15
    """First standard deviation, in units of the cube."""


def minimise(
    cost: Callable[[np.ndarray], np.ndarray], start: np.ndarray, how: Search, seed: int
) -> np.ndarray:
    """The best point found.

    Args:
        cost: of points (population, n) in the cube; one number each.
        start: (n,), in the cube.
        how: settings.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    n, parents = len(start), how.population // 2
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    weights /= weights.sum()
    effective = 1 / (weights**2).sum()
    along = (4 + effective / n) / (n + 4 + 2 * effective / n)
    c_sigma = (effective + 2) / (n + effective + 5)
    rank_one = 2 / ((n + 1.3) ** 2 + effective)
    rank_mu = min(1 - rank_one, 2 * (effective - 2 + 1 / effective) / ((n + 2) ** 2 + effective))
    damp = 1 + 2 * max(0.0, np.sqrt((effective - 1) / (n + 1)) - 1) + c_sigma
    expected = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    mean, sigma = np.clip(start, 0.02, 0.98), how.spread
    shape, path, path_sigma = np.eye(n), np.zeros(n), np.zeros(n)
    best, least = mean.copy(), np.inf
    for generation in range(how.generations):
        values, vectors = np.linalg.eigh(shape)
        lengths = np.sqrt(np.maximum(values, 1e-20))
        steps = (rng.standard_normal((how.population, n)) * lengths) @ vectors.T
        points = mean + sigma * steps
        inside = np.clip(points, 0, 1)
        outside = ((points - inside) ** 2).sum(axis=1)
        costs = cost(inside)
        order = np.argsort(costs * (1 + outside))
        if costs[order[0]] < least:
            least, best = float(costs[order[0]]), inside[order[0]].copy()
        chosen = steps[order[:parents]]
        step = weights @ chosen
        mean = mean + sigma * step
        path_sigma = (1 - c_sigma) * path_sigma + np.sqrt(c_sigma * (2 - c_sigma) * effective) * (
            vectors @ ((vectors.T @ step) / lengths)
        )
        length = np.linalg.norm(path_sigma)
        settled = length / np.sqrt(1 - (1 - c_sigma) ** (2 * generation + 2))
        quiet = settled < (1.4 + 2 / (n + 1)) * expected
        path = (1 - along) * path + quiet * np.sqrt(along * (2 - along) * effective) * step
        shape = (1 - rank_one - rank_mu) * shape + rank_one * np.outer(path, path)
        shape += rank_mu * (chosen.T * weights) @ chosen
        sigma = min(sigma * np.exp(c_sigma / damp * (length / expected - 1)), 0.4)
    return best
