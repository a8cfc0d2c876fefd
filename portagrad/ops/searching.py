"""Choosing elements, and finding where they are."""

from portagrad.op import Filled, case, constant, linear

argmax = constant(
    "argmax",
    "(x, /, *, axis=None, keepdims=False)",
    cases=(case((2, 3)), case((2, 3), axis=1)),
    dtypes="floating",
    doc="Index of the greatest element, the first where there are several.\n"
    "axis: int; the axis, by default the flattened array's",
)
argmin = constant(
    "argmin",
    "(x, /, *, axis=None, keepdims=False)",
    cases=(case((2, 3)), case((2, 3), axis=1)),
    dtypes="floating",
    doc="Index of the least element, the first where there are several.\n"
    "axis: int; the axis, by default the flattened array's",
)
count_nonzero = constant(
    "count_nonzero",
    "(x, /, *, axis=None, keepdims=False)",
    cases=(case((2, 3)), case((2, 3), axis=1)),
    since="2024.12",
    doc="How many elements are not zero.",
)
where = linear(
    "where",
    "(condition, x1, x2, /)",
    None,
    lambda g, condition, xp: xp.where(condition, g, 0.0),
    lambda g, condition, xp: xp.where(condition, 0.0, g),
    cases=(
        case(Filled((2, 3)), (2, 3), (2, 3)),
        case(Filled((2, 3)), (3,), ()),
        case(Filled((2, 1)), (3,), 0.5),
        case(Filled(()), (2,), (2,)),
    ),
    doc="Elements of `x1` where a condition holds, of `x2` elsewhere.\ncondition: array; booleans",
)
