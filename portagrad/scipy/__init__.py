"""SciPy's solvers on pytrees and any device, with exact derivatives."""

from portagrad.scipy.equations import curve_fit, least_squares, root
from portagrad.scipy.optimum import minimize

__all__ = ["curve_fit", "least_squares", "minimize", "root"]
