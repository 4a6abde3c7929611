"""What all policy families share: observations in, chunks out, and the network that reads the observation.

A family adds how a chunk comes about: see `flow`, `token` and `gaussian` beside this file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from regrasp.envs import Executor
from regrasp.errors import InputError, check_positive
from regrasp.rl.policies.hands import PLACE, SEEN, Arm, from_hands

Params = Mapping[str, Any]
Obs = Mapping[str, Float[Array, "..."]]
Trace = Any
"""The random choices behind one chunk: a pytree whose likelihood the family can compute."""
JOINT_POS, LAST_COMMAND = "joint_pos", "target"
"""The observation terms that are the measured joints of the arms and the last command."""
STD_FLOOR = 1e-3
"""Added to standard deviations: what never changes is not blown up."""
FURTHEST_STD = 4.0
"""What is seen further than this from its mean counts as this far: what hardly changes in demonstrations (a
thing that never tips over) would drown all else once it does, and there an update that is small everywhere
else may be large."""


@dataclass(frozen=True)
class Noise:
    """How a policy explores."""

    sigma: float = 0.15
    """Of Gaussian families: standard deviation of what is added, in units of the data's."""
    temperature: float = 0.25
    """Of what chunks are drawn from: the flow's first noise, the tokens' distributions. Most policies act
    without noise; tries near that teach far more than tries that fail for their own noise."""

    def __post_init__(self) -> None:
        check_positive(self, ("sigma", "temperature"))


class Held(NamedTuple):
    """What a new chunk has to fit to: see `runner.holding`."""

    chunk: Float[Array, "... chunk action"]
    """The actions that are played next unless a new chunk comes."""
    gain: Float[Array | np.ndarray, "... knots chunk"]
    """From how far they are off to how coefficients are corrected; 0: nothing is held."""


@dataclass(frozen=True)
class Policy(ABC):
    """Maps observations to chunks of absolute joint targets. Pure: parameters are arguments.

    A chunk lies in the span of a few smooth functions of time, so what is learned and explored is smooth.
    Arm joints are relative to the measured joints, grippers absolute. The coefficients, flattened with
    actions fastest, are the *latent*; families see it normalised by the data.
    """

    terms: tuple[tuple[str, int], ...]
    """Observation terms in network order, with their sizes."""
    relative_to: tuple[int, ...]
    """For each action entry, which observation entry it is relative to; -1: absolute."""
    chunk: int = 32
    """Actions in a chunk."""
    knots: int = 9
    """Coefficients of a chunk, for each action entry."""
    width: int = 384
    """Units of a hidden layer."""
    depth: int = 3
    """Residual layers behind the encoder."""
    execute: int = 0
    """Actions of a chunk that are played before the next; 0: all."""
    ensemble: float | None = None
    """Play means of overlapping chunks: see `Executor`; none: the newest chunk alone."""
    alike: tuple[tuple[str, int], ...] = ()
    """Terms that hold the same numbers of several things, one thing after the other, and how many things."""
    places: str = ""
    """The one of them that holds positions (m, world frame): these are seen from the hands of `arms`, too."""
    arms: tuple[Arm, ...] = ()
    """Of the workcell, if things are seen from its hands."""
    wanted: tuple[tuple[str, float], ...] = ()
    """Conditions beside the observation, such as the speed, and what is asked for when acting."""
    pace: float = 1.0
    """How many demonstrated control steps go by from one action of a chunk to the next: see `faster`."""
    ahead: float = 0.0
    """At which demonstrated control step a chunk begins."""
    span: int = 0
    """Demonstrated control steps that the coefficients span; 0: as many as there are actions."""
    acting: Noise | None = None
    """Act with the noise of exploring, of this size; none: without any."""

    def faster(self, speed: float, lead: float) -> "Self":
        """The same policy, whose chunks are played faster than they were demonstrated.

        Args:
            speed: how many times.
            lead: by how many control steps servos trail: they do so at any pace, so that commands must run
                ahead of a faster hand by more.

        Raises:
            InputError: see `Executor`.
        """
        paced = Executor(self.chunk, 1, speed=speed, lead=lead)
        return replace(
            self,
            chunk=paced.length,
            execute=min(self.execute, paced.length),
            pace=self.pace * speed,
            ahead=self.ahead + self.pace * (speed - 1) * lead,
            span=self.span or self.chunk,
        )

    @property
    def action_size(self) -> int:
        return len(self.relative_to)

    @property
    def executor(self) -> Executor:
        """How its chunks are played."""
        return Executor(self.chunk, self.execute or self.chunk, ensemble=self.ensemble)

    @property
    def latent_size(self) -> int:
        return self.knots * self.action_size

    @property
    def obs_size(self) -> int:
        return sum(size for _, size in self.terms) + len(self.wanted)

    @property
    def net_size(self) -> int:
        """Numbers that the network sees: the observation, then the hands, then things as seen from them."""
        count = dict(self.alike).get(self.places, 0)
        return self.obs_size + len(self.arms) * (PLACE + SEEN * count)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that a chunk is made from."""
        return self.latent_size

    @property
    def noise(self) -> float:
        """Scale of the noise that it acts with."""
        return 0.0 if self.acting is None else 1.0

    def noisy(self, noise: Noise) -> "Self":
        """The same policy, acting as it explores.

        Raises:
            InputError: policies of this family act without noise.
        """
        raise InputError(
            f"noisy, but a {type(self).__name__} acts without noise: leave it out, or clone a flow"
        )

    @cached_property
    def basis(self) -> Float[np.ndarray, "chunk knots"]:
        """From coefficients to the actions of a chunk."""
        shown = self._shown(self.span or self.chunk)
        step = self.ahead + self.pace * np.arange(self.chunk)
        low = np.minimum(step.astype(int), max(len(shown) - 2, 0))
        share = (step - low)[:, None].astype(np.float32)
        # At its own pace a chunk has the very actions that it was shown.
        return (1 - share) * shown[low] + share * shown[np.minimum(low + 1, len(shown) - 1)]

    def _shown(self, span: int) -> Float[np.ndarray, "span knots"]:
        """From coefficients to actions at the pace of the demonstrations: linear between knots."""
        place = np.linspace(0, self.knots - 1, span)
        return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(self.knots))).astype(np.float32)

    def flat(self, obs: Obs) -> Float[Array, "... obs"]:
        """What the network sees; conditions that are not given are those wanted."""
        joined = self.join(obs)
        told = [
            jnp.asarray(obs[name]) if name in obs else jnp.full_like(joined[..., :1], value)
            for name, value in self.wanted
        ]
        return jnp.concatenate([joined, *told], axis=-1)

    def join(self, obs: Mapping[str, Any]) -> Float[Array, "... terms"]:
        """The observation terms side by side; the last command relative to measured joints, as chunks are."""
        joined = jnp.concatenate([jnp.asarray(obs[name]) for name, _ in self.terms], axis=-1)
        return joined - joined @ self._tracked

    def columns(self, term: str) -> slice:
        """Where an observation term lies in what the network sees; nowhere, if there is none."""
        first = 0
        for name, size in self.terms:
            if name == term:
                return slice(first, first + size)
            first += size
        return slice(0, 0)

    @cached_property
    def things(self) -> tuple[tuple[int, ...], ...]:
        """For each of several things alike, where its numbers lie in what the network sees.

        Raises:
            InputError: a term does not hold as many numbers for each.
        """
        found: dict[int, list[int]] = {}
        for term, count in self.alike:
            place = self.columns(term)
            size = place.stop - place.start
            if size % count:
                raise InputError(
                    f"observation {term} holds {size} numbers, which are not as many for each of {count} "
                    "things: give a term that is, or leave it out of `alike`"
                )
            each = size // count
            for i in range(count):
                first = place.start + i * each
                found.setdefault(i, []).extend(range(first, first + each))
        each = SEEN * len(self.arms)
        for i, columns in found.items():
            first = self.obs_size + PLACE * len(self.arms) + i * each
            columns.extend(range(first, first + each))
        return tuple(tuple(columns) for columns in found.values())

    def deaf(self, params: Params, columns: slice) -> Params:
        """The parameters of a policy whose network makes nothing of some entries of what it sees.

        Args:
            params: whose other weights are kept as they are.
            columns: the entries: see `columns`.
        """

        def silenced(weights: Any, path: tuple[str, ...]) -> Any:
            if not path:
                return weights.at[columns].set(0.0)
            first, *rest = path
            return {**weights, first: silenced(weights[first], tuple(rest))}

        return {**params, "net": silenced(params["net"], ("params", *self._net.reads))}

    @cached_property
    def _tracked(self) -> Float[np.ndarray, "terms terms"]:
        """Takes measured joints to the entries of the last command that are seen from them."""
        # A matrix rather than an index: it exports to any runtime.
        size, first = sum(size for _, size in self.terms), self.columns(LAST_COMMAND).start
        pick = np.zeros((size, size), np.float32)
        if LAST_COMMAND in dict(self.terms):
            for column, row in enumerate(self.relative_to):
                if row >= 0:
                    pick[row, first + column] = 1
        return pick

    def encode(
        self, obs: Float[np.ndarray, "n obs"], chunks: Float[np.ndarray, "n chunk action"]
    ) -> Float[np.ndarray, "n latent"]:
        """The latents nearest to chunks of actions, in least squares, before normalisation."""
        knots = np.einsum(
            "kc,nca->nka", np.linalg.pinv(self.basis), chunks - self._origin(obs)[:, None]
        )
        return knots.reshape(len(chunks), -1).astype(np.float32)

    def decode(
        self, params: Params, obs: Float[Array, "... obs"], latent: Float[Array, "... latent"]
    ) -> Float[Array, "... chunk action"]:
        """The chunk of a normalised latent."""
        knots = latent * params["latent_std"] + params["latent_mean"]
        knots = knots.reshape(*latent.shape[:-1], self.knots, self.action_size)
        return self.basis @ knots + self._origin(obs)[..., None, :]

    def init(
        self, key: Array, obs: Float[np.ndarray, "n obs"], latent: Float[np.ndarray, "n latent"]
    ) -> Params:
        """New parameters; the normalisation is that of the data given."""
        return {
            "net": self._init_net(key),
            "obs_mean": jnp.asarray(obs.mean(0)),
            "obs_std": jnp.asarray(obs.std(0) + STD_FLOOR),
            "latent_mean": jnp.asarray(latent.mean(0)),
            "latent_std": jnp.asarray(latent.std(0) + STD_FLOOR),
        }

    @abstractmethod
    def loss(
        self, params: Params, obs: Float[Array, " obs"], latent: Float[Array, " latent"], key: Array
    ) -> Float[Array, ""]:
        """What cloning makes small, for one sample; `latent` before normalisation."""

    @abstractmethod
    def act(
        self,
        params: Params,
        obs: Float[Array, "... obs"],
        noise: Float[Array, "... noise"],
        held: Held | None = None,
    ) -> Float[Array, "... chunk action"]:
        """The chunk of this noise: deterministic, and what is exported. No noise: the middle.

        With `held`, the chunk goes on from actions that will be played whatever it says (real-time
        chunking: Black et al., 2025).
        """

    @abstractmethod
    def explore(
        self, params: Params, obs: Float[Array, " obs"], key: Array, noise: Noise
    ) -> tuple[Float[Array, "chunk action"], Trace]:
        """A chunk to try out, and the choices behind it."""

    @abstractmethod
    def log_prob(
        self, params: Params, obs: Float[Array, " obs"], trace: Trace, noise: Noise
    ) -> Float[Array, "..."]:
        """Log-likelihood of choices, up to a constant, one term for each independent choice."""

    @cached_property
    @abstractmethod
    def _net(self) -> "Net":
        """What makes latents of observations."""

    @abstractmethod
    def _init_net(self, key: Array) -> Any:
        """New weights."""

    def _bent(self, params: Params, obs: Array, latent: Array, held: Held | None) -> Any:
        """What is to be added to a normalised latent so that its chunk fits what is held."""
        if held is None:
            return 0.0
        off = held.chunk - self.decode(params, obs, latent)
        return (held.gain @ off).reshape(latent.shape) / params["latent_std"]

    def _normal(self, params: Params, obs: Array) -> Array:
        normal = (obs - params["obs_mean"]) / params["obs_std"]
        normal = jnp.clip(normal, -FURTHEST_STD, FURTHEST_STD)
        if not self.arms:
            return normal
        lead = obs.shape[:-1]
        things = obs[..., self.columns(self.places)].reshape(*lead, -1, 3)
        hands, seen = from_hands(self.arms, obs[..., self.columns(JOINT_POS)], things)
        return jnp.concatenate([normal, hands, seen.reshape(*lead, -1)], axis=-1)

    def _target(self, params: Params, latent: Array) -> Array:
        return (latent - params["latent_mean"]) / params["latent_std"]

    def _origin(self, obs: Any) -> Any:
        """What the actions are relative to: measured joints for the arms, 0 for the grippers."""
        # A matrix rather than an index: it exports to any runtime.
        pick = np.zeros((self.obs_size, self.action_size), np.float32)
        for column, row in enumerate(self.relative_to):
            if row >= 0:
                pick[row, column] = 1
        return obs @ pick


class Net(nn.Module):
    """A family's network."""

    reads: ClassVar[tuple[str, ...]]
    """Where among its weights those are that read the observation (obs, units): no others see it."""


class Encoder(Net):
    """How every family takes in an observation.

    One linear map: layers of its own, before the rest of the network joins in, fit as well and act worse. But
    it blends several things alike into one that is nowhere: those are seen by attention.
    """

    width: int
    things: tuple[tuple[int, ...], ...] = ()
    """Where each of several things alike lies in the observation; none: there are no such things."""
    reads = ("Dense_0", "kernel")

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        if not self.things:
            return nn.Dense(self.width)(obs)
        # Matrices rather than indices: they export to any runtime.
        places, size = np.ravel(self.things), obs.shape[-1]
        pick = np.zeros((size, len(places)), np.float32)
        pick[places, np.arange(len(places))] = 1
        others = np.ones(size, np.float32)
        others[places] = 0
        seen = nn.Dense(self.width)(obs * others)
        things = (obs @ pick).reshape(*obs.shape[:-1], *np.shape(self.things))
        return seen + Attention(self.width)(seen, things)


class Attention(nn.Module):
    """Picks out of several things alike those that matter, and tells where they are.

    Every head has its own view of what matters, a softmax over the things, and tells of the thing that it
    looks at as it was observed. What a thing matters is told from its own numbers, from which of the things
    it is, and from all else that is seen.
    """

    width: int
    heads: int = 8
    units: int = 128
    kinds: int = 8
    """Numbers that tell the things apart."""

    @nn.compact
    def __call__(self, seen: Array, things: Float[Array, "... things entries"]) -> Array:
        kinds = self.param("kinds", nn.initializers.normal(1.0), (things.shape[-2], self.kinds))
        kinds = jnp.broadcast_to(kinds, (*things.shape[:-1], self.kinds))
        known = jnp.concatenate([things, kinds], axis=-1)
        beside = nn.Dense(self.units)(seen)[..., None, :]
        hidden = nn.silu(nn.Dense(self.units)(known) + beside)
        hidden = nn.silu(nn.Dense(self.units)(hidden))
        weight = nn.softmax(nn.Dense(self.heads)(hidden), axis=-2)
        # A sum of products: matrices so small are slow to multiply one by one.
        looked = (weight[..., None] * known[..., None, :]).sum(axis=-3)
        return nn.Dense(self.width)(looked.reshape(*looked.shape[:-2], -1))


class Residual(nn.Module):
    """Residual layers."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, hidden: Array) -> Array:
        for _ in range(self.depth):
            hidden = hidden + nn.Dense(self.width)(nn.silu(nn.LayerNorm()(hidden)))
        return hidden
