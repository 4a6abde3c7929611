"""The settings of an improvement."""

from dataclasses import dataclass, field

from regrasp.errors import InputError, check_positive, unknown
from regrasp.rl.advantage import GROUP
from regrasp.rl.critic import CriticConfig
from regrasp.rl.policies import Noise
from regrasp.rl.surrogate import SurrogateConfig

GAE = "gae"
SUCCESS, PROGRESS = "success", "progress"


@dataclass(frozen=True)
class ImproveConfig:
    """How a policy is improved."""

    residual: bool = False
    """Leave the policy as it is and learn small corrections of its chunks."""
    speed: float = 1.0
    """Play chunks this many times faster than they were demonstrated, and learn to succeed at that."""
    lag_ms: float = 100.0
    """By how much servos trail; played faster, commands run ahead of them by more."""
    iterations: int = 60
    """Rounds of rollouts and updates, at most."""
    groups: int = 24
    """States that are tried many times in an iteration."""
    tries: int = 16
    """Rollouts from each of them."""
    fresh: int = 128
    """Starts of the task that are played once in an iteration."""
    places: int = 512
    """Starts that the pool keeps."""
    onward: int = 0
    """Of the groups, as many walk through whole episodes, window by window: each starts where a try of its
    own ended, and at a new start of the task when the episode is over. Those states are the policy's own."""
    stuck: int = 0
    """Windows in a row in which none of its tries succeeds, after which a group that goes on begins anew,
    too: a policy may stand where no noise gets it away from; 0: it stays to the end."""
    identical: bool = True
    """The tries of a group start from the same state; otherwise each from one of its own."""
    curriculum: bool = True
    """Draw the states of groups from the pool; otherwise they are new starts of the task."""
    physics: str = "group"
    """Randomised physics, timing and sensing: those of the kept state (group), or of another start for every
    try (try), as far as the starts reach."""
    advantage: str = "leave_one_out"
    """Within a group, leave_one_out or normalised; or by a critic, gae."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """Of the advantage gae."""
    reward: str = "success"
    """What a rollout is for: success, or progress: by how much the task's own reward grew from where it
    started to where it ended."""
    window_s: float = 0.0
    """Rollouts end after this long (s), and with what is played of a chunk, for tasks of many parts, each of
    which can be done well or badly; 0: with the episode. Judgements are of whole episodes."""
    time_cost: float = 0.0
    """What a success loses that takes the whole horizon; 0: success is all that counts."""
    noise: Noise = field(default_factory=Noise)
    """How the policy explores."""
    noisy: bool = False
    """The result acts with this noise, too: where one look is not enough, trying is a skill."""
    update: SurrogateConfig = field(default_factory=SurrogateConfig)
    """How decisions change it."""
    judge_every: int = 10
    """Iterations between judgements, on starts kept for that."""
    judge_episodes: int = 512
    """Episodes of a judgement; the best is the one with the most reward."""
    goal: float = 1.0
    """Stop once a judgement's lower end of the 95 % interval reaches this."""
    patience: int = 0
    """Stop after so many judgements in a row of which none was the best so far; 0: never."""
    checkpoint_every: int = 5
    """Iterations between checkpoints."""
    seed: int = 0
    """Of rollouts, starts and updates."""

    def __post_init__(self) -> None:
        positive = ("iterations", "judge_every", "judge_episodes", "checkpoint_every")
        check_positive(self, positive)
        if not (1 <= self.speed <= 4 and self.lag_ms >= 0):
            raise InputError(
                f"speed {self.speed} and lag_ms {self.lag_ms}: choose 1 <= speed <= 4 and lag_ms >= 0"
            )
        if self.noisy and self.residual:
            raise InputError("noisy with residual: corrections act without noise; choose either")
        if self.groups < 0 or self.fresh < 0 or self.places < 0 or self.tries < 2:
            raise InputError(
                f"groups {self.groups}, tries {self.tries}, fresh {self.fresh} and places {self.places}: "
                "choose tries >= 2 and the others >= 0"
            )
        if not 0 <= self.onward <= self.groups:
            raise InputError(
                f"onward {self.onward}: choose from 0 to the number of groups, {self.groups}"
            )
        if self.patience < 0:
            raise InputError(f"patience {self.patience}: choose 0 (never stop) or more judgements")
        if self.stuck < 0 or (self.stuck and not self.onward):
            raise InputError(
                f"stuck {self.stuck} with onward {self.onward}: choose 0 (never), or a number of windows for "
                "groups that go on"
            )
        if self.onward and not (self.window_s and self.identical):
            raise InputError(
                f"onward {self.onward} with window_s {self.window_s} and identical {self.identical}: only "
                "what ends before its episode can go on, from one state; choose window_s > 0 and identical"
            )
        if not self.groups * self.tries + self.fresh:
            raise InputError("groups 0 and fresh 0: nothing would be tried; choose more of either")
        if self.advantage not in (*GROUP, GAE):
            raise unknown("advantage", self.advantage, (*GROUP, GAE))
        if self.physics not in ("group", "try"):
            raise unknown("physics", self.physics, ("group", "try"))
        if self.reward not in (SUCCESS, PROGRESS):
            raise unknown("reward", self.reward, (SUCCESS, PROGRESS))
        if self.reward == PROGRESS and self.time_cost:
            raise InputError(
                f"reward {PROGRESS} with time_cost {self.time_cost}: time costs a part of a success; choose "
                f"time_cost 0, or reward {SUCCESS}"
            )
        if not self.window_s >= 0:
            raise InputError(f"window_s {self.window_s}: choose 0 (the whole episode) or more")
        if not (0 <= self.time_cost < 1 and 0 < self.goal <= 1):
            raise InputError(
                f"time_cost {self.time_cost} and goal {self.goal}: choose 0 <= time_cost < 1, 0 < goal <= 1"
            )

    @property
    def rows(self) -> int:
        """Simulations at once."""
        return self.groups * self.tries + self.fresh
