"""Networks: modules that are frozen pytrees, and the functions they are made of.

A model is a pytree of arrays. It is called on data, differentiated as any argument is, and updated by making
another: ``grad(loss)(model, x, labels)`` has the structure of `model`.
"""

from portagrad.nn import initializers
from portagrad.nn.containers import MLP, Function, Sequential
from portagrad.nn.functions import (
    ACTIVATIONS,
    activation,
    dropout,
    elu,
    gelu,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    logsumexp,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from portagrad.nn.initializers import (
    Initializer,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    lecun_normal,
    lecun_uniform,
    orthogonal,
)
from portagrad.nn.layers import BatchNorm, BatchNormState, Dropout, LayerNorm, Linear
from portagrad.nn.losses import binary_cross_entropy, cross_entropy, cross_entropy_sum, huber, mae, mse
from portagrad.nn.module import Module, static

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "BatchNorm",
    "BatchNormState",
    "Dropout",
    "Function",
    "Initializer",
    "LayerNorm",
    "Linear",
    "Module",
    "Sequential",
    "activation",
    "binary_cross_entropy",
    "cross_entropy",
    "cross_entropy_sum",
    "dropout",
    "elu",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "huber",
    "initializers",
    "layer_norm",
    "leaky_relu",
    "lecun_normal",
    "lecun_uniform",
    "linear",
    "log_softmax",
    "logsumexp",
    "mae",
    "mse",
    "orthogonal",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "static",
    "tanh",
]
