"""Choosing elements, and finding where they are."""

from portagrad.op import Filled, case, constant, linear

argmax = constant(
    "argmax",
    "(x, /, *, axis=None, keepdims=False)",
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3), axis=0, keepdims=True)),
    dtypes="floating",
    batch="reduction",
    doc="Index of the greatest element, the first where there are several.\n"
    "axis: int; the axis, by default the flattened array's",
)
argmin = constant(
    "argmin",
    "(x, /, *, axis=None, keepdims=False)",
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3), axis=0, keepdims=True)),
    dtypes="floating",
    batch="reduction",
    doc="Index of the least element, the first where there are several.\n"
    "axis: int; the axis, by default the flattened array's",
)
count_nonzero = constant(
    "count_nonzero",
    "(x, /, *, axis=None, keepdims=False)",
    cases=(case((2, 3)), case((2, 3), axis=1), case((2, 3), axis=0, keepdims=True)),
    since="2024.12",
    batch="reduction",
    doc="How many elements are not zero.",
)
nonzero = constant(
    "nonzero",
    "(x, /)",
    ragged=True,
    outputs=("*indices",),
    result=lambda *indices: indices,
    cases=(case((2, 3)), case((4,))),
    dtypes="any",
    doc="Where the elements are not zero.\n"
    "returns: tuple of arrays; for each axis the indices of these elements along it",
)
searchsorted = constant(
    "searchsorted",
    '(x1, x2, /, *, side="left", sorter=None)',
    arrays=("x1", "x2", "sorter"),
    cases=(case((1,), (2, 3), None), case((1,), (4,), Filled((1,), 1), side="right")),
    dtypes="floating",
    since="2023.12",
    batch="searched",
    doc="Where elements would have to be put for an array to stay sorted.\n"
    "x1: array; of one axis, sorted, or by `sorter`\n"
    "x2: array; what is looked for\n"
    'side: str; for what is there already, the place before (``"left"``) or after it (``"right"``)\n'
    "sorter: array; the indices that sort `x1`",
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
    batch="pointwise",
    doc="Elements of `x1` where a condition holds, of `x2` elsewhere.\ncondition: array; booleans",
)
