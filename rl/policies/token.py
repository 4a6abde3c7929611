"""Discrete autoregression: a chunk is a sequence of tokens, each drawn given the ones before it.

Tokens are the low frequencies of a chunk (its cosine transform, as in FAST, Pertsch et al., 2025), lowest
first, each sorted into bins that are fine near the data's mean and coarse far from it. The decoder is causal:
its memory is the running sum of what the tokens so far say (as in NADE, Larochelle and Murray, 2011), so a
token costs the same wherever it stands, and the likelihood of a chunk is exact.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
BLUR_BINS = 0.75
"""Standard deviation of the target in cloning: neighbouring bins are nearly right."""
GUESSED = 8
"""Tokens of a sample that a gradient step of cloning asks for; over the steps all of them equally often."""


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
    def _net(self) -> "TokenNet":
        return TokenNet(self.width, self.depth, self.latent_size, self.bins)

    def init(
        self, key: Array, obs: Float[np.ndarray, "n obs"], latent: Float[np.ndarray, "n latent"]
    ) -> Params:
        params = super().init(key, obs, latent)
        squeezed = np.asarray(_squeeze(self._target(params, jnp.asarray(latent))))
        low, high = squeezed.min(0), squeezed.max(0)
        reach = MARGIN * (high - low) + 1e-3
        return {**params, "low": jnp.asarray(low - reach), "high": jnp.asarray(high + reach)}

    def _init_net(self, key: Array) -> Any:
        return self._net.init(key, jnp.zeros(self.obs_size), jnp.zeros(self.latent_size))

    # ---- tokens ----

    def tokens(self, params: Params, latent: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """Where latents before normalisation stand among the bins: 0 to bins, not rounded."""
        squeezed = _squeeze(self._target(params, latent))
        place = (squeezed - params["low"]) / (params["high"] - params["low"])
        return jnp.clip(place, 0, 1 - 1e-6) * self.bins

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
        """Cross-entropy of some tokens, given the true ones before, with targets blurred over bins."""
        place, size = self.tokens(params, latent), self.latent_size
        first = jax.random.randint(key, (), 0, size)
        some = (first + np.arange(min(GUESSED, size)) * size // min(GUESSED, size)) % size
        apart = (jnp.arange(self.bins) + 0.5 - place[some, None]) / BLUR_BINS
        target = jax.nn.softmax(-(apart**2) / 2)
        logits = self._logits(params, obs, jnp.floor(place), some)
        return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))

    def act(
        self,
        params: Params,
        obs: Float[Array, "... obs"],
        noise: Float[Array, "... latent"],
        held: Held | None = None,
    ) -> Float[Array, "... chunk action"]:
        """Every token by its quantile, that of the noise: no noise, the median."""
        return self._acted(params, obs, noise, held, jax.lax.scan)

    def act_unrolled(self, params: Params, obs: Array, noise: Array, held: Held) -> Array:
        return self._acted(params, obs, noise, held, _in_turn)

    def _acted(
        self, params: Params, obs: Array, noise: Array, held: Held | None, scan: Any
    ) -> Array:
        share = jax.scipy.stats.norm.cdf(noise)
        latent = self.latent(params, self._draw(params, obs, share, 1.0, scan))
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
        logits = self._logits(params, obs, trace) / noise.temperature
        return jnp.take_along_axis(jax.nn.log_softmax(logits), trace[:, None], axis=-1)[:, 0]

    # ---- inside ----

    def _logits(
        self, params: Params, obs: Array, tokens: Array, places: Array | None = None
    ) -> Array:
        """Of all tokens, or those in some places, each given the true ones before it."""
        normal, value = self._normal(params, obs), self._value(tokens)
        return self._net.apply(params["net"], normal, value, places)  # type: ignore[return-value]

    def _draw(
        self,
        params: Params,
        obs: Array,
        share: Array,
        temperature: float,
        scan: Any = jax.lax.scan,
    ) -> Array:
        """Tokens one after the other, each where its cumulative probability passes a share."""
        net, weights = self._net, params["net"]
        seen: Any = net.apply(weights, self._normal(params, obs), method="see")
        # Sums as a product with a triangle, which exports to any runtime.
        below = np.triu(np.ones((self.bins, self.bins), np.float32))

        def one(memory: Array, here: tuple[Array, Array]) -> tuple[Array, Array]:
            place, wanted = here
            logits = net.apply(weights, memory, place, method="guess")
            passed = jax.nn.softmax(logits / temperature) @ below  # type: ignore[operator]
            token = jnp.sum((passed < wanted[..., None]).astype(jnp.float32), axis=-1)
            token = jnp.minimum(token, self.bins - 1)
            said = net.apply(weights, self._value(token), place, method="say")
            return memory + said, token  # type: ignore[return-value]

        shares = jnp.moveaxis(share, -1, 0)
        _, tokens = scan(one, seen, (np.arange(self.latent_size), shares))
        return jnp.moveaxis(tokens, 0, -1).astype(jnp.int32)

    def _value(self, tokens: Array) -> Array:
        """Tokens as numbers from -1 to 1."""
        return (2 * tokens + 1.0) / self.bins - 1


class TokenNet(Net):
    """The causal decoder: what was seen and what the tokens so far say, added up, to the next token."""

    width: int
    depth: int
    size: int
    bins: int
    reads = ("encoder", *Encoder.reads)

    def setup(self) -> None:
        self.encoder = Encoder(self.width)
        normal = nn.initializers.normal
        waves = 2 * len(_WAVES) + 1
        self.words = self.param("words", normal(0.3), (self.size, waves, self.width))
        self.places = self.param("places", normal(0.3), (self.size, self.width))
        self.body = Residual(self.width, self.depth)
        self.leave = nn.Dense(self.bins, kernel_init=nn.initializers.zeros)

    def __call__(self, obs: Array, values: Array, places: Array | None = None) -> Array:
        """Logits of every token, or of those in some places, given the values of all before it."""
        places = jnp.arange(self.size) if places is None else places
        said = jnp.einsum("...if,ifw->...iw", _waves(values), self.words)
        earlier = jnp.arange(self.size) < places[:, None]
        memory = self.see(obs)[..., None, :] + earlier.astype(said.dtype) @ said
        return self.leave(nn.silu(self.body(memory + self.places[places])))

    def see(self, obs: Array) -> Array:
        """The memory before the first token."""
        return self.encoder(obs)

    def say(self, value: Array, place: Array) -> Array:
        """What one token adds to the memory."""
        return _waves(value) @ self.words[place]

    def guess(self, memory: Array, place: Array) -> Array:
        """Logits of the next token."""
        return self.leave(nn.silu(self.body(memory + self.places[place])))


_WAVES = np.pi * 2.0 ** np.arange(5)


def _waves(value: Array) -> Array:
    """A number with the sines and cosines of its multiples: neighbours are alike, all differ."""
    waves = value[..., None] * jnp.asarray(_WAVES, jnp.float32)
    return jnp.concatenate([value[..., None], jnp.sin(waves), jnp.cos(waves)], axis=-1)


def _in_turn(one: Any, memory: Array, over: tuple[np.ndarray, Array]) -> tuple[Array, Array]:
    """What `scan` does, written out."""
    tokens = []
    for place, share in zip(*over, strict=True):
        memory, token = one(memory, (place, share))
        tokens.append(token)
    return memory, jnp.stack(tokens)


def _squeeze(z: Any) -> Any:
    return jnp.arcsinh(SQUEEZE * z)


def _stretch(squeezed: Any) -> Any:
    return jnp.sinh(squeezed) / SQUEEZE
