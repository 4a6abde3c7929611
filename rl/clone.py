"""Cloning: fit a policy of any family to demonstrations."""

import json
import time
import warnings
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Int32

from regrasp.envs import Executor, Task
from regrasp.errors import InputError, check_positive, unknown
from regrasp.files import whole
from regrasp.progress import Progress
from regrasp.rl.checkpoint import load_tree, save_tree
from regrasp.rl.conditions import CONDITIONS
from regrasp.rl.events import Events
from regrasp.rl.policies import FAMILIES, JOINT_POS, LAST_COMMAND, Params, Policy
from regrasp.rl.policies.hands import arms_of

WATCHED = 4096
"""Of the samples held out this many are watched, fewer than twice: all may be more than are learned from."""
SOURCES = {"demos": "demos", "retimed": "retime", "generated": "generate"}
"""Folder of a run with demonstrations -> the verb that makes it."""


@dataclass(frozen=True)
class CloneConfig:
    """How a policy is cloned."""

    family: str = "flow"
    """How chunks come about: flow (denoising), token (autoregression) or gaussian."""
    updates: int = 16000
    """Gradient steps."""
    batch: int = 512
    """Samples in a gradient step."""
    learning_rate: float = 1e-3
    """Peak of the cosine schedule."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    average: float = 0.998
    """Decay of the averaged weights, which are the ones kept."""
    held_out: float = 0.1
    """Fraction of the episodes whose loss is only watched."""
    chunk: int = 32
    """Actions in a chunk."""
    knots: int = 9
    """Coefficients of a chunk, for each action entry."""
    execute: int = 8
    """Actions of a chunk that are played before the next; 0: all."""
    ensemble: float | None = 0.0
    """Play means of overlapping chunks, older ones with a weight larger by exp(this) each (ACT: 0.01); None:
    the newest chunk alone."""
    width: int = 384
    """Units of a hidden layer."""
    depth: int = 3
    """Residual layers behind the encoder."""
    steps: int = 5
    """Integration steps of the flow family."""
    bins: int = 128
    """Values of a token of the token family."""
    data: str = ""
    """Folder of demonstrations to be cloned; by default the run's own."""
    source: str = "demos"
    """What of the run is cloned: its demonstrations (demos), the faster copies that `regrasp retime` made
    (retimed), or what `regrasp generate` made of them (generated)."""
    last_command: bool = False
    """Clone from the last command, too (observation target), which is easier to go on with than to work out
    what to do. Otherwise a clone makes nothing of it, and improvement may."""
    fastest: float = 1.0
    """Share of the demonstrations that is used: the shortest ones."""
    speed: float = 0.0
    """Tell the policy how fast each demonstration was, and ask for this many times the median speed; 0: do
    not."""
    advantage: float = 0.0
    """Tell it by how much each chunk brought success nearer than usual, and ask for so many standard
    deviations; 0: do not."""
    seed: int = 0
    """Of initialisation and of the order of samples."""

    def __post_init__(self) -> None:
        positive = ("updates", "batch", "learning_rate", "chunk", "width", "depth", "steps", "bins")
        check_positive(self, positive)
        if not (0 < self.fastest <= 1 and self.speed >= 0 and self.advantage >= 0):
            raise InputError(
                f"fastest {self.fastest}, speed {self.speed} and advantage {self.advantage}: "
                "choose 0 < fastest <= 1 and the others >= 0"
            )
        if self.source not in SOURCES:
            raise unknown("source", self.source, SOURCES)
        if self.family not in FAMILIES:
            raise unknown("policy family", self.family, FAMILIES)
        # Refuses what cannot be played, before anything is trained.
        Executor(self.chunk, self.execute or self.chunk, ensemble=self.ensemble)
        if not 2 <= self.knots <= self.chunk or not 0 <= self.held_out < 1:
            raise InputError(
                f"knots {self.knots} and held_out {self.held_out}: "
                "choose 2 <= knots <= chunk and 0 <= held_out < 1"
            )


class Samples(NamedTuple):
    """Training pairs."""

    obs: Float[np.ndarray, "n obs"]
    latent: Float[np.ndarray, "n latent"]
    episode: Int[np.ndarray, " n"]


class _State(NamedTuple):
    net: Any
    average: Any
    optimizer: Any


def policy_for(task: Task, config: CloneConfig, seen: Collection[str] | None = None) -> Policy:
    """The policy of this configuration for a task's observations and actions.

    Args:
        task: what it does.
        config: the policy's family and sizes.
        seen: the observation terms that it sees; None: all of the task.
    """
    terms = tuple(
        (name, int(np.prod(shape)))
        for name, (_, shape) in task.terms.items()
        if seen is None or name in seen
    )
    workcell = task.workcell()
    arms = workcell.action_size - len(workcell.gripper_columns)
    if dict(terms).get(JOINT_POS) != arms:
        raise InputError(
            f"observation {JOINT_POS} holds {dict(terms).get(JOINT_POS, 0)} numbers: it must be the "
            f"{arms} arm joints, in action order"
        )
    if dict(terms).get(LAST_COMMAND, workcell.action_size) != workcell.action_size:
        raise InputError(
            f"observation {LAST_COMMAND} must be the last command, {workcell.action_size} numbers: give "
            "anything else another name"
        )
    starts = dict(
        zip([n for n, _ in terms], np.cumsum([0] + [s for _, s in terms])[:-1], strict=True)
    )
    joints = iter(range(starts[JOINT_POS], starts[JOINT_POS] + arms))
    relative = tuple(
        -1 if i in workcell.gripper_columns else int(next(joints))
        for i in range(workcell.action_size)
    )
    family = FAMILIES[config.family]
    sizes = {f.name for f in fields(family)} & {f.name for f in fields(config)}
    asked = {name: getattr(config, name) for name in CONDITIONS}
    wanted = tuple((name, value) for name, value in asked.items() if value)
    alike = tuple((n, c) for n, c in task.alike.items() if n in dict(terms))
    places = [n for n, c in alike if task.terms[n][0] == "m" and dict(terms)[n] == 3 * c][:1]
    return family(
        terms,
        relative,
        wanted=wanted,
        alike=alike,
        places="".join(places),
        arms=arms_of(workcell) if places else (),
        **{name: getattr(config, name) for name in sizes},
    )


def samples(
    policy: Policy,
    obs: Mapping[str, Float[np.ndarray, "n _"]],
    action: Float[np.ndarray, "n action"],
    episode: Int[np.ndarray, " n"],
    conditions: Mapping[str, Float[np.ndarray, " n"]] | None = None,
) -> Samples:
    """One training pair per demonstrated step: its observation and the chunk that followed it.

    Chunks that reach beyond the end of their episode hold its last action.

    Args:
        policy: whose terms and conditions are put together.
        obs: term -> its numbers.
        action: what was done.
        episode: number of each step's episode, in ascending order.
        conditions: what is told beside; those of `conditions.CONDITIONS` follow from the data.

    Raises:
        InputError: a condition of the policy is not given.

    Warns:
        UserWarning: more of a condition is asked for than was ever shown.
    """
    given = conditions or {}
    plain = np.asarray(policy.join(obs))
    parts = [plain]
    for name, asked in policy.wanted:
        if name not in (*given, *CONDITIONS):
            raise unknown("condition", name, (*given, *CONDITIONS))
        told = given[name] if name in given else CONDITIONS[name](plain, episode, policy.chunk)
        most = float(np.max(told))
        if asked > most:
            warnings.warn(
                f"{name} {asked:g} is asked for, but demonstrations end at {most:.3g}, and beyond what "
                f"was shown a policy may do anything: choose at most {most:.3g}",
                stacklevel=2,
            )
        parts.append(np.asarray(told, np.float32)[:, None])
    last = np.searchsorted(episode, episode, side="right") - 1
    index = np.minimum(np.arange(len(episode))[:, None] + np.arange(policy.chunk), last[:, None])
    flat = np.concatenate(parts, axis=-1)
    return Samples(flat, policy.encode(flat, action[index]), np.asarray(episode))


def clone(
    policy: Policy,
    data: Samples,
    config: CloneConfig,
    folder: Path,
    progress: Progress = lambda done, total, note: None,
) -> Params:
    """Train, writing `params.npz` and `metrics.jsonl` to a folder; a finished folder is read, not redone.

    An interrupted run goes on from its last checkpoint, and ends with the same weights as an undisturbed one.

    Returns:
        The averaged parameters.
    """
    # Of some episodes, the fastest ones, there may be no samples.
    episodes, of = np.unique(data.episode, return_inverse=True)
    held = of >= (1 - config.held_out) * len(episodes)
    params = policy.init(jax.random.key(config.seed), data.obs[~held], data.latent[~held])
    if not config.last_command:
        # At its mean it is 0 to the network, so these weights stay at 0 until improvement sees the true one.
        columns = policy.columns(LAST_COMMAND)
        params = policy.deaf(params, columns)
        data = data._replace(obs=data.obs.copy())
        data.obs[:, columns] = params["obs_mean"][columns]
    train = jax.tree.map(jnp.asarray, (data.obs[~held], data.latent[~held]))
    watched = np.flatnonzero(held)[:: max(1, int(held.sum()) // WATCHED)]
    test = jax.tree.map(jnp.asarray, (data.obs[watched], data.latent[watched]))
    if (folder / "params.npz").exists():
        return load_tree(folder / "params.npz", params)
    fixed = {name: value for name, value in params.items() if name != "net"}
    optimizer = optax.adamw(
        optax.warmup_cosine_decay_schedule(
            0.0, config.learning_rate, config.updates // 40, config.updates
        ),
        weight_decay=config.weight_decay,
    )
    state = _State(params["net"], params["net"], optimizer.init(params["net"]))
    state, first, metrics = _resume(folder, state)
    advance = jax.jit(partial(_advance, policy, config, optimizer, fixed))
    held_out_loss = jax.jit(
        lambda net, obs, latent: _mean_loss(
            policy, {**fixed, "net": net}, obs, latent, jax.random.key(1)
        )
    )
    started = time.monotonic() - (metrics[-1]["wall_s"] if metrics else 0.0)
    with closing(Events(folder, first)) as events:
        for begun in range(first, config.updates, _BLOCK):
            done = min(begun + _BLOCK, config.updates)
            steps = jnp.arange(begun, done, dtype=jnp.int32)
            before, (state, loss) = state, advance(state, train, steps)
            if not np.isfinite(loss):
                _save(folder, before, begun, metrics)
                raise InputError(
                    f"the loss is {float(loss)} in updates {begun} to {done} of {folder}: its last "
                    "good state is kept; look for extreme numbers in the demonstrations, or start anew with "
                    "a lower --learning-rate"
                )
            metrics.append(
                {
                    "step": done,
                    "loss": float(loss),
                    "held_out_loss": float(held_out_loss(state.average, *test))
                    if held.any()
                    else None,
                    "wall_s": round(time.monotonic() - started, 2),
                }
            )
            events.add(done, metrics[-1])
            if done % (10 * _BLOCK) == 0:
                _save(folder, state, done, metrics)
            progress(done, config.updates, f"loss {metrics[-1]['loss']:.3f}")
    params = {**fixed, "net": state.average}
    write_lines(folder / "metrics.jsonl", metrics)
    save_tree(folder / "params.npz", params)
    (folder / "checkpoint.npz").unlink(missing_ok=True)
    return params


_BLOCK = 100
"""Gradient steps per compiled call."""


def _advance(
    policy: Policy,
    config: CloneConfig,
    optimizer: optax.GradientTransformation,
    fixed: Params,
    state: _State,
    train: tuple[Array, Array],
    steps: Int32[Array, " steps"],
) -> tuple[_State, Array]:
    """Gradient steps of these numbers; the samples depend on the seed and the number alone."""

    def one(state: _State, step: Array) -> tuple[_State, Array]:
        key = jax.random.fold_in(jax.random.key(config.seed + 1), step)
        pick_key, loss_key = jax.random.split(key)
        pick = jax.random.randint(pick_key, (config.batch,), 0, len(train[0]))
        loss, gradient = jax.value_and_grad(
            lambda net: _mean_loss(
                policy, {**fixed, "net": net}, train[0][pick], train[1][pick], loss_key
            )
        )(state.net)
        updates, memory = optimizer.update(gradient, state.optimizer, state.net)
        net = optax.apply_updates(state.net, updates)
        # A young average forgets its start sooner.
        decay = jnp.minimum(config.average, (step + 1) / (step + 10))
        average = optax.incremental_update(net, state.average, 1 - decay)
        return _State(net, average, memory), loss

    state, losses = jax.lax.scan(one, state, steps)
    return state, losses.mean()


def _mean_loss(policy: Policy, params: Params, obs: Array, latent: Array, key: Array) -> Array:
    keys = jax.random.split(key, len(obs))
    return jax.vmap(policy.loss, (None, 0, 0, 0))(params, obs, latent, keys).mean()


def _save(folder: Path, state: _State, done: int, metrics: list[dict[str, Any]]) -> None:
    write_lines(folder / "metrics.jsonl", metrics)
    save_tree(folder / "checkpoint.npz", {"state": state, "done": np.int64(done)})


def _resume(folder: Path, state: _State) -> tuple[_State, int, list[dict[str, Any]]]:
    if not (folder / "checkpoint.npz").exists():
        return state, 0, []
    found = load_tree(folder / "checkpoint.npz", {"state": state, "done": np.int64(0)})
    done = int(found["done"])
    return (
        found["state"],
        done,
        [m for m in read_lines(folder / "metrics.jsonl") if m["step"] <= done],
    )


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines.

    Raises:
        InputError: no such file, or it is not whole.
    """
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): start a new run") from None
