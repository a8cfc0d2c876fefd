"""What people see of a run: its folder read back, its page, and several side by side."""

from portagrad.train.report.page import report_html, write_report
from portagrad.train.report.record import RunRecord, find_runs, flat, is_run, read_run

__all__ = ["RunRecord", "find_runs", "flat", "is_run", "read_run", "report_html", "write_report"]
