"""Readers of data files, splits, standardisation and batches."""

from __future__ import annotations

from portagrad.data.csv_file import read_csv, read_csv_targets
from portagrad.data.dataset import Dataset, make_dataset
from portagrad.data.formats import file_format, open_source, read, read_regression
from portagrad.data.idx_file import read_idx, read_idx_array
from portagrad.data.moments import Moments, Standardization
from portagrad.data.npy_file import NpySource, read_npy
from portagrad.data.npz_file import read_npz, read_npz_arrays, read_npz_targets
from portagrad.data.order import batches, slices
from portagrad.data.parquet_file import ParquetSource
from portagrad.data.prefetch import prefetched
from portagrad.data.preparation import class_weights, split
from portagrad.data.regression import RegressionDataset, make_regression
from portagrad.data.source import ArraySource, Part, Source, blocks, stream

__all__ = [
    "ArraySource",
    "Dataset",
    "Moments",
    "NpySource",
    "ParquetSource",
    "Part",
    "RegressionDataset",
    "Source",
    "Standardization",
    "batches",
    "blocks",
    "class_weights",
    "file_format",
    "make_dataset",
    "make_regression",
    "open_source",
    "prefetched",
    "read",
    "read_csv",
    "read_csv_targets",
    "read_idx",
    "read_idx_array",
    "read_npy",
    "read_npz",
    "read_npz_arrays",
    "read_npz_targets",
    "read_regression",
    "slices",
    "split",
    "stream",
]
