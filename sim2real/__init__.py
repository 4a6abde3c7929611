"""What is true: logs of a real arm, their replay in simulation, and the gap between the two."""

from regrasp.sim2real.data import find_data as find_data
from regrasp.sim2real.ensemble import Ensemble as Ensemble
from regrasp.sim2real.ensemble import draw_ensemble as draw_ensemble
from regrasp.sim2real.fit import Fit as Fit
from regrasp.sim2real.fit import FitConfig as FitConfig
from regrasp.sim2real.fit import fit_table as fit_table
from regrasp.sim2real.floor import Floor as Floor
from regrasp.sim2real.floor import repeat_floor as repeat_floor
from regrasp.sim2real.gap import Gap as Gap
from regrasp.sim2real.gap import gap_of as gap_of
from regrasp.sim2real.gap import measure_gap as measure_gap
from regrasp.sim2real.identify import IdentifyConfig as IdentifyConfig
from regrasp.sim2real.identify import identify as identify
from regrasp.sim2real.log import Log as Log
from regrasp.sim2real.measure_coverage import Coverage as Coverage
from regrasp.sim2real.measure_coverage import coverage_of as coverage_of
from regrasp.sim2real.measure_coverage import measure_coverage as measure_coverage
from regrasp.sim2real.metrics import lag_s as lag_s
from regrasp.sim2real.metrics import mae as mae
from regrasp.sim2real.metrics import rmse as rmse
from regrasp.sim2real.moments import arm_moment as arm_moment
from regrasp.sim2real.moments import real_moment as real_moment
from regrasp.sim2real.params import with_params as with_params
from regrasp.sim2real.readers import read_logs as read_logs
from regrasp.sim2real.replay import replay as replay
from regrasp.sim2real.replay import replay_windows as replay_windows
