"""What people see of a run: its folder read back, the page, and tables on a terminal."""

from portagrad.train.report.page import report_html, write_report
from portagrad.train.report.record import RunRecord, find_runs, flat, is_run, read_run

__all__ = ["RunRecord", "find_runs", "flat", "is_run", "read_run", "report_html", "write_report"]
