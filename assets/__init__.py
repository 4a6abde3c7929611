"""What exists: arms, workcells and objects, as MuJoCo specifications."""

from regrasp.assets.arm import ARMS, Arm, Gripper, Joint, Servo, load_arm
from regrasp.assets.workcell import SIDES, Workcell, aloha

__all__ = ["ARMS", "SIDES", "Arm", "Gripper", "Joint", "Servo", "Workcell", "aloha", "load_arm"]
