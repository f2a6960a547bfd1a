"""Readers of large recordings: a subject's signal is read into memory, or kept memory-mapped in a cache folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from braindec.contracts import Progress, no_progress
from braindec.types import Trials


class CachedReader(ABC):
    """A data set whose signals can be prepared once; a subclass gives `_trials` and `_folder`, and sets ``cache_dir``.

    Attributes
    ----------
    cache_dir : where signals are kept for memory-mapping; None: they are read into memory each time.
    """

    cache_dir: str | None

    def trials(self, subject: str) -> Trials:
        """All trials of a subject; memory-mapped when there is a ``cache_dir``, which is filled on first use.

        Raises `DataError` on missing, cut or inconsistent files, or dead positions.
        """
        return self._trials(subject, None if self.cache_dir is None else Path(self.cache_dir), no_progress)

    def prepare(self, subject: str, cache_dir: str, progress: Progress = no_progress) -> Path:
        """Build the memory-mapped signal part by part and return its folder; continues an interrupted build.

        Errors as in `trials`.
        """
        self._trials(subject, Path(cache_dir), progress)
        return self._folder(Path(cache_dir), subject)

    @abstractmethod
    def _trials(self, subject: str, cache_dir: Path | None, progress: Progress) -> Trials:
        """All trials of a subject, their signal in its `_folder` of the cache if there is one."""

    @abstractmethod
    def _folder(self, cache_dir: Path, subject: str) -> Path:
        """Where the subject's signal lies in the cache; named by all that the signal depends on."""
