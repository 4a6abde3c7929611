"""Distributions of randomised numbers: small, printable, sampled from a key."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from regrasp.errors import InputError


@runtime_checkable
class Distribution(Protocol):
    """What can be sampled, and says its own range."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    def sample(self, key: Array, count: int) -> Float[Array, " count"]: ...


@dataclass(frozen=True)
class Uniform:
    """Every number from low to high is as likely."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check(self, self.low <= self.high, "low <= high")

    def sample(self, key: Array, count: int) -> Float[Array, " count"]:
        return jax.random.uniform(key, (count,), jnp.float32, self.low, self.high)

    def __str__(self) -> str:
        return f"uniform {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogUniform:
    """Every ratio is as likely: halving as doubling."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check(self, 0 < self.low <= self.high, "0 < low <= high")

    def sample(self, key: Array, count: int) -> Float[Array, " count"]:
        return jnp.exp(
            jax.random.uniform(key, (count,), jnp.float32, jnp.log(self.low), jnp.log(self.high))
        )

    def __str__(self) -> str:
        return f"log-uniform {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class LogNormal:
    """A bell over ratios, cut off at both ends: what is fitted to logs."""

    median: float
    sigma: float
    """Standard deviation of the natural logarithm, before the cut."""
    cut: float = 3.0
    """Nothing is further from the median than this many sigmas."""

    def __post_init__(self) -> None:
        if not (self.median > 0 and self.sigma >= 0 and self.cut > 0):
            raise InputError(
                f"LogNormal({self.median}, {self.sigma}, {self.cut}): "
                "choose median > 0, sigma >= 0 and cut > 0"
            )

    @property
    def low(self) -> float:
        return self.median * math.exp(-self.cut * self.sigma)

    @property
    def high(self) -> float:
        return self.median * math.exp(self.cut * self.sigma)

    def sample(self, key: Array, count: int) -> Float[Array, " count"]:
        bell = jax.random.truncated_normal(key, -self.cut, self.cut, (count,), jnp.float32)
        return self.median * jnp.exp(self.sigma * bell)

    def __str__(self) -> str:
        return (
            f"log-normal {self.median:g} x/ {math.exp(self.sigma):g}, {self.low:g} to {self.high:g}"
        )


@dataclass(frozen=True)
class Constant:
    """Always this number."""

    value: float

    @property
    def low(self) -> float:
        return self.value

    @property
    def high(self) -> float:
        return self.value

    def sample(self, key: Array, count: int) -> Float[Array, " count"]:
        del key
        return jnp.full((count,), self.value, jnp.float32)

    def __str__(self) -> str:
        return f"always {self.value:g}"


def _check(distribution: Distribution, fine: bool, rule: str) -> None:
    if not fine:
        name = type(distribution).__name__
        raise InputError(f"{name}({distribution.low}, {distribution.high}) is empty: choose {rule}")
