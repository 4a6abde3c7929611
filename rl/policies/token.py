"""Discrete autoregression: a chunk is a sequence of tokens, each drawn given the ones before it.

Tokens are the low frequencies of a chunk (its cosine transform, as in FAST, Pertsch et al., 2025), lowest
first, each sorted into bins that are fine near the data's mean and coarse far from it. What a chunk is about
is decided by its lowest frequencies: their tokens are drawn one at a time. The entries of each higher
frequency are drawn together, given all lower ones. Bins have an order, which a softmax would have to find:
their probabilities are the pieces of a mixture of logistic distributions (PixelCNN++, Salimans et al., 2017).
The decoder is causal: its memory is the running sum of what the tokens so far say (as in NADE, Larochelle and
Murray, 2011), and the likelihood of a chunk is exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.fft import idct

from regrasp.rl.policies.policy import Encoder, Held, Net, Noise, Params, Policy, Residual

SQUEEZE = 2.0
"""Bins are even in arcsinh(SQUEEZE * z), z in standard deviations of the data."""
MARGIN = 0.02
"""Of the data's range, by which the bins reach beyond it."""
ALONE = 2
"""Lowest frequencies whose tokens are drawn one at a time."""
PIECES = 5
"""Logistic distributions in a mixture."""
SCALES = (-6.0, 3.0)
"""Range of the log scale of a logistic distribution; bins reach from -1 to 1."""


class Mixture(NamedTuple):
    """Logistic distributions from which bins take their probabilities; shapes (..., PIECES)."""

    log_weight: Array
    middle: Array
    log_scale: Array

    @classmethod
    def of(cls, raw: Float[Array, "... figures"], temperature: float = 1.0) -> "Mixture":
        """From what a network says; a higher temperature widens and evens out."""
        weight, middle, log_scale = jnp.split(raw, 3, axis=-1)
        log_scale = jnp.clip(log_scale, *SCALES) + np.log(temperature)
        return cls(jax.nn.log_softmax(weight / temperature), middle, log_scale)

    def below(self, edge: Array) -> Array:
        """Probability of what is below an edge."""
        return jnp.sum(jnp.exp(self.log_weight) * jax.nn.sigmoid(self._off(edge)), axis=-1)

    def log_between(self, low: Array, high: Array) -> Array:
        """Log probability of what is between two edges, exact far out in a tail too."""
        inside = jax.nn.log_sigmoid(self._off(high)) + jax.nn.log_sigmoid(-self._off(low))
        width = (high - low)[..., None] * jnp.exp(-self.log_scale)
        # S(b) - S(a) = S(b) S(-a) (1 - exp(a - b)), S the logistic function.
        between = inside + jnp.log(-jnp.expm1(-width))
        return jax.nn.logsumexp(self.log_weight + between, axis=-1)

    def _off(self, edge: Array) -> Array:
        return (edge[..., None] - self.middle) * jnp.exp(-self.log_scale)


@dataclass(frozen=True)
class TokenPolicy(Policy):
    """One token for each frequency of each action entry."""

    bins: int = 128
    """Values of a token."""

    def _shown(self, span: int) -> Float[np.ndarray, "span knots"]:
        """The lowest frequencies of the orthonormal cosine transform (DCT-II)."""
        every = np.asarray(idct(np.eye(span), axis=0, norm="ortho"), np.float32)
        return every[:, : self.knots]

    @cached_property
    def turns(self) -> tuple[slice, ...]:
        """The tokens that are drawn together, turn by turn."""
        alone, size = min(ALONE, self.knots) * self.action_size, self.action_size
        ones = (slice(i, i + 1) for i in range(alone))
        return (*ones, *(slice(i, i + size) for i in range(alone, self.latent_size, size)))

    @cached_property
    def _net(self) -> "TokenNet":
        alone = min(ALONE, self.knots)
        together = self.knots - alone
        return TokenNet(self.width, self.depth, self.action_size, alone, together, self.things)

    def init(
        self, key: Array, obs: Float[np.ndarray, "n obs"], latent: Float[np.ndarray, "n latent"]
    ) -> Params:
        params = super().init(key, obs, latent)
        squeezed = np.asarray(_squeeze(self._target(params, jnp.asarray(latent))))
        low, high = squeezed.min(0), squeezed.max(0)
        reach = MARGIN * (high - low) + 1e-3
        return {**params, "low": jnp.asarray(low - reach), "high": jnp.asarray(high + reach)}

    def _init_net(self, key: Array) -> Any:
        return self._net.init(key, jnp.zeros(self.net_size), jnp.zeros(self.latent_size))

    # ---- tokens ----

    def tokens(self, params: Params, latent: Float[Array, " latent"]) -> Int[Array, " latent"]:
        """The bins of latents before normalisation."""
        squeezed = _squeeze(self._target(params, latent))
        place = (squeezed - params["low"]) / (params["high"] - params["low"])
        return jnp.clip(place * self.bins, 0, self.bins - 1).astype(jnp.int32)

    def latent(
        self, params: Params, tokens: Int[Array, "... latent"]
    ) -> Float[Array, "... latent"]:
        """The normalised latent in the middle of the tokens' bins."""
        place = (tokens + 0.5) / self.bins
        return _stretch(params["low"] + place * (params["high"] - params["low"]))

    # ---- the family's face ----

    def loss(
        self, params: Params, obs: Float[Array, " obs"], latent: Float[Array, " latent"], key: Array
    ) -> Float[Array, ""]:
        """Minus the mean log-likelihood of a token, given the true ones before."""
        del key
        return -jnp.mean(self._log_likelihood(params, obs, self.tokens(params, latent), 1.0))

    def act(
        self,
        params: Params,
        obs: Float[Array, "... obs"],
        noise: Float[Array, "... latent"],
        held: Held | None = None,
    ) -> Float[Array, "... chunk action"]:
        """Every token by its quantile, that of the noise: no noise, the median."""
        tokens = self._draw(params, obs, jax.scipy.stats.norm.cdf(noise), 1.0)
        latent = self.latent(params, tokens)
        return self.decode(params, obs, latent + self._bent(params, obs, latent, held))

    def explore(
        self, params: Params, obs: Float[Array, " obs"], key: Array, noise: Noise
    ) -> tuple[Float[Array, "chunk action"], Int[Array, " latent"]]:
        share = jax.random.uniform(key, (self.latent_size,))
        tokens = self._draw(params, obs, share, noise.temperature)
        return self.decode(params, obs, self.latent(params, tokens)), tokens

    def log_prob(
        self, params: Params, obs: Float[Array, " obs"], trace: Int[Array, " latent"], noise: Noise
    ) -> Float[Array, " latent"]:
        return self._log_likelihood(params, obs, trace, noise.temperature)

    # ---- inside ----

    def _log_likelihood(
        self, params: Params, obs: Array, tokens: Array, temperature: float
    ) -> Array:
        """Of every token, given those of earlier turns."""
        raw: Any = self._net.apply(
            params["net"], self._normal(params, obs), self._value(tokens + 0.5)
        )
        low, high = self._value(tokens), self._value(tokens + 1)
        # The outermost bins reach to infinity.
        low, high = jnp.where(low > -1, low, -FAR), jnp.where(high < 1, high, FAR)
        return Mixture.of(raw, temperature).log_between(low, high)

    def _draw(self, params: Params, obs: Array, share: Array, temperature: float) -> Array:
        """Tokens turn by turn, each where its cumulative probability passes a share."""
        net, weights = self._net, params["net"]
        memory: Any = net.apply(weights, self._normal(params, obs), method="see")
        edges, drawn = self._value(jnp.arange(1, self.bins)), []
        for turn, part in enumerate(self.turns):
            raw: Any = net.apply(weights, memory, turn, part, method="guess")
            below = Mixture.of(raw[..., None, :], temperature).below(edges)
            passed = (below < share[..., part, None]).astype(jnp.float32)
            drawn.append(jnp.sum(passed, axis=-1))
            value = self._value(drawn[-1] + 0.5)
            memory = memory + net.apply(weights, value, part, method="say")
        return jnp.concatenate(drawn, axis=-1).astype(jnp.int32)

    def _value(self, place: Array) -> Array:
        """Where something stands among the bins, 0 to bins, from -1 to 1."""
        return place * (2.0 / self.bins) - 1


class TokenNet(Net):
    """The causal decoder: what was seen and what the tokens so far say, added up, to the next tokens."""

    width: int
    depth: int
    entries: int
    """Tokens of a frequency."""
    alone: int
    """Frequencies whose tokens have a turn each."""
    together: int
    """Frequencies whose tokens share one."""
    things: tuple[tuple[int, ...], ...] = ()
    reads = ("encoder", *Encoder.reads)

    def setup(self) -> None:
        ones, normal = self.alone * self.entries, nn.initializers.normal
        size, turns = ones + self.together * self.entries, ones + self.together
        self.encoder = Encoder(self.width, self.things)
        self.body = Residual(self.width, self.depth)
        self.words = self.param("words", normal(0.1), (size, 2 * len(_WAVES) + 1, self.width))
        self.places = self.param("places", normal(1.0), (turns, self.width))
        shape = (size, self.width, 3 * PIECES)
        self.leave = self.param("leave", nn.initializers.zeros, shape)
        self.start = self.param("start", lambda _: jnp.tile(jnp.asarray(_START), (size, 1)))

    def __call__(self, obs: Array, values: Float[Array, " size"]) -> Float[Array, "size figures"]:
        """What is said of every token, given the values of all of earlier turns."""
        ones, waves = self.alone * self.entries, _waves(values)
        grouped = (self.together, self.entries)
        words = self.words[ones:].reshape(*grouped, *self.words.shape[1:])
        leave = self.leave[ones:].reshape(*grouped, *self.leave.shape[1:])
        said = [
            jnp.einsum("tf,tfw->tw", waves[:ones], self.words[:ones]),
            jnp.einsum("tef,tefw->tw", waves[ones:].reshape(words.shape[:-1]), words),
        ]
        before = np.tri(len(self.places), k=-1, dtype=np.float32) @ jnp.concatenate(said)
        hidden = nn.silu(self.see(obs) + before + self.places)
        raw = [
            jnp.einsum("tw,twk->tk", hidden[:ones], self.leave[:ones]),
            jnp.einsum("tw,tewk->tek", hidden[ones:], leave).reshape(-1, leave.shape[-1]),
        ]
        return jnp.concatenate(raw) + self.start

    def see(self, obs: Array) -> Array:
        """The memory before the first token."""
        return self.body(self.encoder(obs))

    def say(self, values: Array, part: slice) -> Array:
        """What the tokens of a turn add to the memory."""
        waves = _waves(values)
        words = self.words[part].reshape(-1, self.width)
        return waves.reshape(*waves.shape[:-2], len(words)) @ words

    def guess(self, memory: Array, turn: int, part: slice) -> Array:
        """What is said of the tokens of a turn: see `Mixture.of`."""
        leave = jnp.moveaxis(self.leave[part], 1, 0).reshape(self.width, -1)
        raw = nn.silu(memory + self.places[turn]) @ leave
        return raw.reshape(*raw.shape[:-1], -1, 3 * PIECES) + self.start[part]


FAR = 1e4
"""Beyond all there is."""
_START = np.concatenate([np.zeros(PIECES), np.linspace(-0.6, 0.6, PIECES), np.full(PIECES, -1.5)])
"""Weights, middles and log scales before anything was learned."""
_WAVES = np.pi * 2.0 ** np.arange(5)


def _waves(value: Array) -> Array:
    """A number with the sines and cosines of its multiples: neighbours are alike, all differ."""
    waves = value[..., None] * jnp.asarray(_WAVES, jnp.float32)
    return jnp.concatenate([value[..., None], jnp.sin(waves), jnp.cos(waves)], axis=-1)


def _squeeze(z: Any) -> Any:
    return jnp.arcsinh(SQUEEZE * z)


def _stretch(squeezed: Any) -> Any:
    return jnp.sinh(squeezed) / SQUEEZE
