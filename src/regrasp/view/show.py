"""What a view shows, without a page: one simulation that can be stopped, turned back, forked and pulled."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from regrasp.envs import BatchEnv, Snapshot, episode_keys, load_task
from regrasp.errors import InputError
from regrasp.randomization import randomizer_for, table_for
from regrasp.view.actors import Actor, Follower, load_actor
from regrasp.view.config import ViewConfig
from regrasp.view.ghosts import Ghosts, ends
from regrasp.view.hand import Hand
from regrasp.view.leader import Leader
from regrasp.view.physics import Numbers, Physics
from regrasp.view.recorder import ROLE, Recorder

KEEP_EVERY = 10
"""Control steps from one moment that is kept by itself to the next."""
TRACE_S = 6.0
"""How far back commands and positions are known for plots (s)."""
LEADER, EXPERT = "leader", "expert"


@dataclass(frozen=True)
class Moment:
    """A kept state of the show, with what its actor remembers and its physics."""

    snapshot: Snapshot
    step: int
    """Control steps since its episode began."""
    numbers: Numbers
    memories: Mapping[str, Any]
    """By the actor's name; who did not act then remembers nothing."""
    outcome: str
    episode: int
    past: "tuple[Moment, ...]" = ()
    """Those that were kept before it in its episode."""


@dataclass
class Trace:
    """Commands and positions of the last seconds, for plots."""

    length: int
    t: deque[float] = field(init=False)
    """Since the episode began (s)."""
    command: deque[np.ndarray] = field(init=False)
    position: deque[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.t, self.command, self.position = (deque(maxlen=self.length) for _ in range(3))

    def add(self, t: float, command: np.ndarray, position: np.ndarray) -> None:
        self.t.append(t)
        self.command.append(command)
        self.position.append(position)

    def clear(self) -> None:
        for kept in (self.t, self.command, self.position):
            kept.clear()

    def joint(self, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times, commands and positions of one joint, in action units."""
        pick = [np.array([row[column] for row in rows]) for rows in (self.command, self.position)]
        return np.array(self.t), pick[0], pick[1]


class Show:
    """One simulation and its ghosts. Not for several threads at once.

    Attributes:
        outcome: running, success, failure, timeout or unstable.
        jumps: how often the state has been put elsewhere: by a beginning, or by going back.
    """

    def __init__(self, task: str, config: ViewConfig | None = None):
        """Begin the first episode, or where the snapshot is.

        Args:
            task: its name.
            config: what is looked at.

        Raises:
            InputError: an unknown name, or a bundle or snapshot that does not fit.
        """
        config = config or ViewConfig()
        self.task, self.config = task, config
        kept = None if config.snapshot is None else Snapshot.load(config.snapshot)
        policy = config.policy or (EXPERT if kept is None else LEADER)
        cell = config.workcell
        table = table_for(task, cell)
        actor = None if policy == LEADER else load_actor(task, policy, config.seed, cell)
        self.env = BatchEnv(
            load_task(task, cell),
            1,
            randomizer=randomizer_for(task, config.randomize, cell),
            threads=1,
            autoreset=AutoresetMode.DISABLED,
            executor=None if actor is None else actor.executor,
        )
        self.leader = Leader(self.env)
        self.actor: Actor = actor or self.leader
        self.trace = Trace(round(TRACE_S / self.dt_s))
        self.ghosts: Ghosts | None = None
        self.recorder = Recorder(self.env, task, config)
        self.episode, self.step, self.outcome = -1, 0, "running"
        self._tries = self.jumps = 0
        self.moments: list[Moment] = []
        self.numbers: dict[str, np.ndarray] = {}
        self._key = np.zeros(2, np.uint32)
        self._memories: Mapping[str, Any] = {}
        """Those of the moment that was gone back to, until time goes on."""
        self._start("evaluate", 0)
        self.physics = Physics(self.env, table)
        self.hand = Hand(self.env)
        self._made: dict[tuple[int, bool], BatchEnv] = {}
        self._turned = False
        self._number()
        self._remember_start()
        if kept is not None:
            self._begin_with(kept)

    @property
    def dt_s(self) -> float:
        """Control period (s)."""
        return self.env.task.control_dt_s

    @property
    def time_s(self) -> float:
        """Since the episode began."""
        return self.step * self.dt_s

    @property
    def running(self) -> bool:
        return self.outcome == "running"

    # ---- time ----

    def begin(self, number: int | None = None) -> None:
        """Begin an episode that `regrasp eval` judges on: of this number, or the next one."""
        self._begin("evaluate", self.episode + 1 if number is None else number)

    def advance(self) -> None:
        """One control step of the simulation and of its ghosts; what has ended stays as it is."""
        if self.ghosts is not None:
            self.ghosts.advance()
        if not self.running:
            return
        self.hand.apply()
        self.recorder.before()
        ended = ends(self.actor.step(self.env, self.step))
        self.step, self._memories = self.step + 1, {}
        view = self.env.view()
        self.trace.add(self.time_s, np.asarray(view.target)[0], np.asarray(view.joint_pos)[0])
        self.outcome = ended[0]
        self.recorder.after(self.outcome)
        if self.outcome == "timeout" and self.actor is self.leader and not self.recorder.on:
            self._more_time()
        if self.step % KEEP_EVERY == 0:
            self.moments.append(self.keep())

    # ---- kept states ----

    def keep(self) -> Moment:
        """The present moment."""
        memories = {self.actor.name: self.actor.memory()}
        return Moment(
            self.env.take(0),
            self.step,
            dict(self.numbers),
            memories,
            self.outcome,
            self.episode,
            tuple(self.moments),
        )

    def restore(self, moment: Moment) -> None:
        """Put a moment back; what was kept after it is forgotten, and the ghosts stay.

        Raises:
            InputError: the actor cannot go on from there, or the state is of another model.
        """
        if self.recorder.on:
            raise InputError("a demonstration is being recorded: stop it first")
        now = self.env.take(0)
        self.env.restore(moment.snapshot)
        try:
            self._hand_to(self.actor, moment.step, moment.memories)
        except InputError:
            self.env.restore(now)
            raise
        self._memories = moment.memories
        self.hand.let_go()
        self.step, self.outcome, self.episode = moment.step, moment.outcome, moment.episode
        self.numbers = dict(moment.numbers)
        self.jumps += 1
        self.trace.clear()
        self.moments = [*moment.past, moment]

    def restore_time(self, time_s: float) -> Moment:
        """Go back to the last moment that was kept at this time of the episode or before."""
        step = time_s / self.dt_s + 1e-6
        moment = max(
            (kept for kept in self.moments if kept.step <= step),
            key=lambda kept: kept.step,
            default=self.moments[0],
        )
        self.restore(moment)
        return moment

    # ---- who acts ----

    def act_by(self, actor: Actor) -> None:
        """Let another one act from now on.

        Raises:
            InputError: it cannot go on from here, or a demonstration is being recorded.
        """
        if actor is self.actor:
            return
        if self.recorder.on:
            raise InputError("a demonstration is being recorded by who leads it: stop it first")
        self._hand_to(actor, self.step, self._memories)
        self.env.restore(self.env.without_chunks(self.env.take(0)))
        self.actor = actor

    def record(self) -> None:
        """Begin an episode that you lead and that is recorded, until `recorder.stop` or `recorder.drop`.

        Raises:
            InputError: there is no place for demonstrations, or one is being recorded already.
        """
        self._tries += 1
        number = self.recorder.kept + self._tries
        self.act_by(self.leader)
        self._begin(ROLE, number)
        self.recorder.start()

    # ---- ghosts ----

    def fork(self, count: int, own_physics: bool = True, noise: float | None = None) -> Ghosts:
        """Show so many futures of this moment.

        Args:
            count: how many.
            own_physics: each under a draw of the task's table of its own, timing and sensing included; else
                under those of the moment.
            noise: scale of the noise of a policy in the ghosts; None: its own.

        Raises:
            InputError: the actor cannot be forked here, or a count out of range.
        """
        if not 1 <= count <= 64:
            raise InputError(f"ghosts {count}: choose 1 to 64")
        env = self._ghost_env(count, own_physics)
        keys, now = np.asarray(episode_keys(self.config.seed, "train", 0, count)), self.env.take(0)
        if own_physics:
            put = [self.physics.put(now, self.physics.drawn(key)) for key in keys]
            now = Snapshot.concatenate(put)
        env.begin(keys)
        env.fork(now, keys=keys)
        actor = self.actor.another(noise)
        actor.recall(env, self.actor.memory())
        self.ghosts = Ghosts(env, actor, self.step)
        return self.ghosts

    def clear(self) -> None:
        """Let the ghosts go."""
        self.ghosts = None

    # ---- physics ----

    def turn(self, name: str, value: float) -> None:
        """Turn one knob of the physics, from this moment on.

        Raises:
            InputError: no such field, a value out of its range, or a demonstration is being recorded.
        """
        self.use(self.physics.turned(self.numbers, name, value))

    def use(self, numbers: Numbers) -> None:
        """Go on under these numbers.

        Raises:
            InputError: a demonstration is being recorded.
        """
        if self.recorder.on:
            raise InputError("a demonstration is being recorded: its physics stays as it is")
        now = self.env.take(0)
        if not self._turned:
            # Once with everything in use, so that no later turn has to compile anything.
            most = {k.name: np.full_like(numbers[k.name], k.high) for k in self._knobs()}
            self.env.restore(self.physics.put(now, {**numbers, **most}))
            self._turned = True
        self.env.restore(self.physics.put(now, numbers))
        self.numbers = dict(numbers)

    def draw(self, number: int) -> None:
        """Go on under the numbers that the table draws for an episode of this number."""
        self.use(self.physics.drawn(_key(self.config.seed, "evaluate", number)))

    # ---- inside ----

    def _hand_to(self, actor: Actor, step: int, memories: Mapping[str, Any]) -> None:
        """Have somebody go on at this step of an episode; at its start everybody can."""
        memory = memories.get(actor.name)
        if memory is None and not step:
            actor.start(self.env, self._key[None])
        else:
            actor.recall(self.env, memory)

    def _knobs(self) -> list[Any]:
        return list(self.physics.knobs.values())

    def _begin(self, role: str, number: int) -> None:
        self._start(role, number)
        self.hand.let_go()
        self._number()
        self._remember_start()

    def _start(self, role: str, number: int) -> None:
        if self.recorder.on:
            raise InputError("a demonstration is being recorded: stop it first")
        self._key = _key(self.config.seed, role, number)
        self.env.begin(self._key[None])
        self.actor.start(self.env, self._key[None])
        self.step, self.outcome, self._memories = 0, "running", {}
        self.jumps += 1
        if role == "evaluate":
            self.episode = number
        self.trace.clear()

    def _more_time(self) -> None:
        """Whoever only tries things out is not stopped by the clock: it begins again at 0."""
        now = self.env.take(0)
        self.env.restore(
            replace(now, carry={**now.carry, "step": np.zeros_like(now.carry["step"])})
        )
        self.step, self.outcome = 0, "running"
        self.trace.clear()
        self._remember_start()

    def _remember_start(self) -> None:
        self.moments = []
        self.moments.append(self.keep())

    def _number(self) -> None:
        """The numbers of the episode that has begun."""
        drawn = self.config.randomize == "table"
        self.numbers = self.physics.drawn(self._key) if drawn else self.physics.nominal()

    def _begin_with(self, kept: Snapshot) -> None:
        """Go on from a snapshot of a file."""
        if kept.stacked:
            raise InputError(
                f"{self.config.snapshot} holds {len(kept)} states: save one of them, snapshot[0]"
            )
        if kept.task != type(self.env.task).__name__:
            raise InputError(
                f"{self.config.snapshot} is of {kept.task}, not of {self.task}: view that task"
            )
        plays = isinstance(self.actor, Follower)
        self.env.restore(kept if plays else self.env.without_chunks(kept))
        self.step = int(kept.carry["step"])
        self._hand_to(self.actor, self.step, {})
        self._remember_start()

    def _ghost_env(self, count: int, own_physics: bool) -> BatchEnv:
        """An environment for so many ghosts, made once."""
        where = count, own_physics
        made = self._made.get(where)
        if made is None or made.executor != self.env.executor:
            drawn = "table" if own_physics else self.config.randomize
            self._made = {
                where: BatchEnv(
                    self.env.task,
                    count,
                    randomizer=randomizer_for(self.task, drawn, self.config.workcell),
                    autoreset=AutoresetMode.DISABLED,
                    executor=self.env.executor,
                )
            }
        return self._made[where]


def _key(seed: int, role: str, number: int) -> np.ndarray:
    return np.asarray(episode_keys(seed, role, number, 1))[0]
