"""Choosing elements, and finding where they are."""



from portagrad.op import Filled, case, constant, linear



argmax = constant("argmax", "(x, /, *, axis=None, keepdims=False)", cases=(case((2, 3)), case((2, 3), axis=1)))
argmin = constant("argmin", "(x, /, *, axis=None, keepdims=False)", cases=(case((2, 3)), case((2, 3), axis=1)))
count_nonzero = constant(
    "count_nonzero", "(x, /, *, axis=None, keepdims=False)", cases=(case((2, 3)), case((2, 3), axis=1)), since="2024.12"
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
)
