"""regrasp: the same grasp, again. A simulation is a state you can keep."""

__version__ = "0.1.0"
