"""Units of recordings: angles and grippers of every known convention into rad and openings.

Nothing is taken for granted: where a format does not define its units, its reader's caller says them, and
an error offers what the numbers look like.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regrasp.assets.arm import Arm
from regrasp.errors import InputError, unknown
from regrasp.files import read_json

TURN_TICKS, MIDDLE_TICK = 4096, 2048
"""Encoder steps of a turn, and the one at which a servo counts as at 0 rad. Source: Dynamixel and Feetech."""
ANGLES = {
    "rad": "radians",
    "deg": "degrees",
    "ticks": "encoder steps, 4096 a turn, 0 rad at 2048",
    "percent": "-100..100 of the joint's range",
}
OPENINGS = {
    "opening": "0 closed to 1 open, linear",
    "percent": "0 closed to 100 open",
    "joint": "position of the gripper's joint, in rad, deg or ticks as the angles are, or in m",
}


@dataclass(frozen=True)
class ReadConfig:
    """What a recording does not say itself, and its reader is told."""

    angles: str = ""
    """Unit of arm joints, where the format defines none: rad, deg, ticks (4096 a turn) or percent (-100..100
    of the joint's range)."""
    grippers: str = ""
    """What gripper columns are: opening (0..1), percent (0..100), joint (the joint's position), or the
    constants of an ALOHA, whose commands are leader angles: act, act++, interbotix, aloha2-sim."""
    rate_hz: float = 0.0
    """Samples per second of recordings without stamps; 0: the format's usual rate, told as an assumption."""
    zeros_deg: tuple[float, ...] = ()
    """Added to each arm joint's angle, in the order of the joints; none: 0."""
    signs: tuple[int, ...] = ()
    """1 or -1 for each arm joint, in the order of the joints, before zeros are added; none: 1."""
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Recordings of poses: where their frame's origin is in the workcell."""
    origin_rotvec_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Recordings of poses: how their frame is turned in the workcell, as axis times angle."""

    def __post_init__(self) -> None:
        if self.angles and self.angles not in ANGLES:
            raise unknown("unit of angles", self.angles, ANGLES)
        if self.grippers and self.grippers not in (*OPENINGS, *linkages()):
            raise unknown("gripper convention", self.grippers, (*OPENINGS, *linkages()))
        if not 0 <= self.rate_hz <= 10_000:
            raise InputError(f"rate_hz {self.rate_hz}: choose a rate up to 10000, or 0")
        if not set(self.signs) <= {1, -1}:
            raise InputError(f"signs {self.signs}: choose 1 or -1 for each joint")
        numbers = (*self.zeros_deg, *self.origin_m, *self.origin_rotvec_rad)
        if not np.isfinite(numbers).all():
            raise InputError(f"zeros_deg and origin {numbers}: choose finite numbers")

    def check_unturned(self, what: str) -> None:
        """Refuse signs and zeros where they would not be heard.

        Raises:
            InputError: some are given; the message begins with `what`.
        """
        given = {"--signs": self.signs, "--zeros-deg": self.zeros_deg}
        for option, value in given.items():
            if value:
                raise InputError(f"{what}: leave {option} {' '.join(map(str, value))} out")


@dataclass(frozen=True)
class Linkage:
    """Gripper constants of one ALOHA: angles (rad) and finger positions (m) at both ends."""

    follower_joint_rad: tuple[float, float]
    """Closed, open."""
    follower_finger_m: tuple[float, float]
    leader_joint_rad: tuple[float, float]
    bar_m: tuple[float, float] | None
    """Crank and rod that turn the follower's angle into a finger's position; None: it slides."""
    command_finger_m: tuple[float, float]
    """Finger positions that normalised commands 0 and 1 ask for, where it slides."""

    def finger_m(self, angle_rad: Any) -> Any:
        """Position of a finger at an angle of the follower's motor: r sin(a) + sqrt(l^2 - r^2 cos^2(a))."""
        if self.bar_m is None:
            raise InputError("these grippers slide and have no motor angle: choose other constants")
        r, l = self.bar_m  # noqa: E741
        return r * np.sin(angle_rad) + np.sqrt(l**2 - (r * np.cos(angle_rad)) ** 2)

    def opening_of_finger(self, finger_m: Any) -> Any:
        """Opening of a finger's position (m), linear."""
        closed, wide = self.follower_finger_m
        return (finger_m - closed) / (wide - closed)

    def opening_of_command(self, command: Any) -> Any:
        """Opening that a normalised command (the leader's angle, 0..1) asks the follower for.

        The leader's normalised angle becomes the follower's motor angle between its own two ends; the bar
        makes a finger's position of it, which is not linear.
        """
        if self.bar_m is None:
            closed, wide = self.command_finger_m
            return self.opening_of_finger(closed + np.asarray(command) * (wide - closed))
        closed, wide = self.follower_joint_rad
        return self.opening_of_angle(closed + np.asarray(command) * (wide - closed))

    def opening_of_angle(self, angle_rad: Any) -> Any:
        """Opening at an angle of the follower's motor (rad)."""
        return self.opening_of_finger(self.finger_m(angle_rad))

    def opening_of_leader(self, angle_rad: Any) -> Any:
        """Opening that a leader's motor angle (rad) asks the follower for."""
        closed, wide = self.leader_joint_rad
        return self.opening_of_command((np.asarray(angle_rad) - closed) / (wide - closed))


@cache
def linkages() -> dict[str, Linkage]:
    """The known sets of gripper constants, by name."""

    def ends(pair: dict[str, float]) -> tuple[float, float]:
        return pair["closed"], pair["open"]

    table = read_json(Path(__file__).parent / "readers" / "grippers.json", "gripper table")
    return {
        name: Linkage(
            follower_joint_rad=ends(row["follower_joint_rad"]),
            follower_finger_m=ends(row["follower_finger_m"]),
            leader_joint_rad=ends(row["leader_joint_rad"]),
            bar_m=None if row["crank_m"] is None else (row["crank_m"], row["rod_m"]),
            command_finger_m=ends(row.get("command_finger_m", row["follower_finger_m"])),
        )
        for name, row in table["sets"].items()
    }


@dataclass(frozen=True)
class Converter:
    """Turns columns of one recording into rad and openings, as a config says."""

    config: ReadConfig
    joints: tuple[str, ...]
    grippers: tuple[int, ...]
    arm: Arm | None = None
    """Its ranges say what percent means, its gripper what a joint's position is."""

    def __call__(self, values: Float[np.ndarray, "time joints"], *, commands: bool) -> np.ndarray:
        """Positions in rad and openings.

        Args:
            values: as recorded, float64.
            commands: whether they are commands: an ALOHA's grippers are commanded by leader angles.

        Raises:
            InputError: a unit is not said, or cannot be had.
        """
        out = np.array(values, np.float64)
        arms = [i for i in range(len(self.joints)) if i not in self.grippers]
        if arms:
            out[:, arms] = self._turned(self._angles(out[:, arms], arms))
        for i in self.grippers:
            out[:, i] = self._opening(out[:, i], commands)
        return out

    def velocity(self, values: Float[np.ndarray, "time joints"]) -> np.ndarray | None:
        """Velocities per second, or none where a linkage makes those of grippers unknowable."""
        if not self.config.angles or self.config.grippers == "joint":
            return None
        zero = self(np.zeros((1, len(self.joints))), commands=False)
        slope = self(np.ones((1, len(self.joints))), commands=False) - zero
        return np.asarray(values, np.float64) * slope

    def _angles(self, values: np.ndarray, arms: list[int]) -> np.ndarray:
        match self.config.angles:
            case "rad":
                return values
            case "deg":
                return np.radians(values)
            case "ticks":
                return (values - MIDDLE_TICK) * (2 * np.pi / TURN_TICKS)
            case "percent":
                low, high = np.array([self._range(i) for i in arms]).T
                return low + (values + 100) / 200 * (high - low)
            case _:
                raise InputError(
                    f"the unit of {self.joints[arms[0]]} and its likes is not in the recording; "
                    f"{guess_angles(values)}"
                )

    def _turned(self, angles: np.ndarray) -> np.ndarray:
        width = angles.shape[1]
        for name in ("signs", "zeros_deg"):
            given = getattr(self.config, name)
            if given and len(given) != width:
                raise InputError(
                    f"{name} has {len(given)} numbers: give one for each of {width} arm joints"
                )
        signs = np.array(self.config.signs or [1] * width, float)
        return angles * signs + np.radians(self.config.zeros_deg or [0.0] * width)

    def _range(self, column: int) -> tuple[float, float]:
        if self.arm is None:
            raise InputError("percent of a joint's range needs to know the arm: give --arm as well")
        name = self.joints[column].rpartition("/")[2]
        found = [joint.range for joint in self.arm.joints if joint.name == name]
        if not found:
            raise unknown(f"joint of {self.arm.name}", name, self.arm.joint_names)
        return found[0]

    def _opening(self, values: np.ndarray, commands: bool) -> np.ndarray:
        how = self.config.grippers
        if how in linkages():
            return linkages()[how].opening_of_command(values) if commands else values
        match how:
            case "opening":
                return values
            case "percent":
                return values / 100
            case "joint":
                if self.arm is None:
                    raise InputError(
                        "a gripper's joint position needs to know the arm: give --arm as well"
                    )
                angle = {"deg": np.radians, "ticks": _from_ticks}.get(
                    self.config.angles, np.asarray
                )
                slides = abs(self.arm.gripper.open - self.arm.gripper.closed) < 0.1
                return self.arm.opening(values if slides else angle(values))
            case _:
                raise InputError(
                    f"the unit of {self.joints[self.grippers[0]]} is not in the recording; "
                    f"{guess_opening(values)}"
                )


def _from_ticks(values: np.ndarray) -> np.ndarray:
    return (values - MIDDLE_TICK) * (2 * np.pi / TURN_TICKS)


def guess_angles(values: np.ndarray) -> str:
    """What arm angles look like, as an offer."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return f"give --angles, one of {', '.join(ANGLES)}"
    low, high = finite.min(), finite.max()
    size = max(-low, high)
    if size <= 2 * np.pi:
        likely = "rad (or degrees of a very small motion)", "rad"
    elif low >= 0 and 360 < high < TURN_TICKS and (finite == np.round(finite)).all():
        likely = "encoder steps", "ticks"
    elif size <= 101:
        likely = (
            "degrees or -100..100 of the range, which only its recorder knows",
            "deg or --angles percent",
        )
    elif size <= 360:
        likely = "degrees", "deg"
    else:
        return f"they span {low:.4g} to {high:.4g}; give --angles, one of {', '.join(ANGLES)}"
    return f"they span {low:.4g} to {high:.4g}, which looks like {likely[0]}: give --angles {likely[1]}"


def guess_opening(values: np.ndarray) -> str:
    """What a gripper's column looks like, as an offer."""
    finite = values[np.isfinite(values)]
    choices = ", ".join((*OPENINGS, *linkages()))
    if not finite.size:
        return f"give --grippers, one of {choices}"
    low, high = finite.min(), finite.max()
    likely = "something else"
    if low >= -0.25 and high <= 1.25:
        likely = (
            "an opening of 0..1 (--grippers opening), unless commands are an ALOHA's leader angles"
        )
    elif low >= -25 and high <= 125:
        likely = "0..100 (--grippers percent)"
    return f"it spans {low:.4g} to {high:.4g}, which looks like {likely}: give --grippers, one of {choices}"
