"""The report: one self-contained page about a run."""

from regrasp.sim2real.report.page import write_report as write_report
