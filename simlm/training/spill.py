"""Long arrays that grow on disk: appended piece by piece, then mapped; nothing is left behind when the process ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np


class Spill:
    """An array that is written to an unnamed temporary file.

    Parameters
    ----------
    dtype
        Type of the numbers.
    folder
        Where the file lies while it is open (the system's temporary folder may be memory).

    >>> spill = Spill(np.int32, Path(tempfile.gettempdir()))
    >>> spill.append(np.array([1, 2])); spill.append(np.array([3]))
    >>> spill.finish().tolist()
    [1, 2, 3]
    """

    def __init__(self, dtype: type, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.dtype, self.count = np.dtype(dtype), 0
        # The mapping keeps the unnamed file alive.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def append(self, values: np.ndarray) -> None:
        """Write values at the end."""
        np.ascontiguousarray(values, self.dtype).tofile(self._file)
        self.count += len(values)

    def finish(self) -> np.ndarray:
        """The whole array, read-only and paged in as it is used."""
        self._file.flush()
        if not self.count:
            return np.zeros(0, self.dtype)
        return np.memmap(self._file, self.dtype, "r", shape=(self.count,))
