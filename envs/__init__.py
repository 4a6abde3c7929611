"""What happens: tasks, engines, control, kept states, and their Gymnasium face."""

from regrasp.envs.batch_env import BatchEnv
from regrasp.envs.executor import Executor
from regrasp.envs.keys import episode_keys, role_key
from regrasp.envs.randomizer import Draw, Nominal, Randomizer, Settings, Write
from regrasp.envs.snapshot import Snapshot
from regrasp.envs.task import Initial, Task
from regrasp.envs.tasks import TASKS, load_task
from regrasp.envs.view import View, Watch

__all__ = [
    "TASKS",
    "BatchEnv",
    "Draw",
    "Executor",
    "Initial",
    "Nominal",
    "Randomizer",
    "Settings",
    "Snapshot",
    "Task",
    "View",
    "Watch",
    "Write",
    "episode_keys",
    "load_task",
    "role_key",
]
