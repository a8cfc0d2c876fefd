"""Training runs: configuration, loop, weights and reports."""

from portagrad.train.config import (
    Config,
    DataConfig,
    LoopConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from portagrad.train.config_file import dump_config, load_config
from portagrad.train.find_lr import RangeTest, find_lr
from portagrad.train.loop import fit, resume
from portagrad.train.progress import BarProgress, PlainProgress, Progress, best_progress
from portagrad.train.result import Result
from portagrad.train.saved_model import Description, Prediction, TrainedModel, load_model, save_model
from portagrad.train.starter import starter, write_starter
from portagrad.train.weights import load_weights, save_weights

__all__ = [
    "BarProgress",
    "Config",
    "DataConfig",
    "Description",
    "LoopConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PlainProgress",
    "Prediction",
    "Progress",
    "RangeTest",
    "Result",
    "ScheduleConfig",
    "TrainedModel",
    "best_progress",
    "dump_config",
    "find_lr",
    "fit",
    "load_config",
    "load_model",
    "load_weights",
    "resume",
    "save_model",
    "save_weights",
    "starter",
    "write_starter",
]
