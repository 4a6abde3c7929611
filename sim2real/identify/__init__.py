"""Identification: recordings of a real arm in, its servos' figures out, with how surely."""

from regrasp.sim2real.identify.config import IdentifyConfig as IdentifyConfig
from regrasp.sim2real.identify.run import Figure as Figure
from regrasp.sim2real.identify.run import Identified as Identified
from regrasp.sim2real.identify.run import identify as identify
from regrasp.sim2real.identify.run import identify_logs as identify_logs
