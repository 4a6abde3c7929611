"""Policy families by name."""

from regrasp.rl.policies.flow import FlowPolicy
from regrasp.rl.policies.gaussian import GaussianPolicy
from regrasp.rl.policies.policy import JOINT_POS, LAST_COMMAND, Held, Noise, Params, Policy, Trace
from regrasp.rl.policies.residual import ResidualPolicy
from regrasp.rl.policies.token import TokenPolicy

FAMILIES: dict[str, type[Policy]] = {
    "flow": FlowPolicy,
    "token": TokenPolicy,
    "gaussian": GaussianPolicy,
}
"""How chunks come about -> the family."""

__all__ = [
    "FAMILIES",
    "JOINT_POS",
    "LAST_COMMAND",
    "FlowPolicy",
    "GaussianPolicy",
    "Held",
    "Noise",
    "Params",
    "Policy",
    "ResidualPolicy",
    "TokenPolicy",
    "Trace",
]
