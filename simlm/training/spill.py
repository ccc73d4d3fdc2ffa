"""Long arrays that grow on disk: appended piece by piece, then mapped; nothing is left behind when the process ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from simlm.errors import UserError


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
        self.dtype, self.count, self.folder = np.dtype(dtype), 0, folder
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            # The mapping keeps the unnamed file alive.
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def append(self, values: np.ndarray) -> None:
        """Write values at the end."""
        # Not `tofile`, which says nothing when the disk is full.
        with self._writing():
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.count += len(values)

    def finish(self) -> np.ndarray:
        """The whole array, read-only and paged in as it is used."""
        with self._writing():
            self._file.flush()
        if not self.count:
            return np.zeros(0, self.dtype)
        return np.memmap(self._file, self.dtype, "r", shape=(self.count,))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.folder}: a temporary file cannot be written ({error.strerror or error}); free space or choose another place") from error
