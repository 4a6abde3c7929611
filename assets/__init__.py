"""What exists: arms, workcells and objects, as MuJoCo specifications."""

from regrasp.assets.arm import ARMS, Arm, Gripper, Joint, Servo, load_arm
from regrasp.assets.workcell import ALOHA, SIDES, WORKCELLS, Workcell, aloha, load_workcell

__all__ = [
    "ALOHA",
    "ARMS",
    "SIDES",
    "WORKCELLS",
    "Arm",
    "Gripper",
    "Joint",
    "Servo",
    "Workcell",
    "aloha",
    "load_arm",
    "load_workcell",
]
