# SPDX-License-Identifier: GPL-3.0-or-later
"""Text embeddings by feature hashing: no download, no training, the same in every worker."""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_WORD = re.compile(r"[a-z0-9]+")


class EmbeddingModel:
    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def embed(self, text: str) -> Vector:
        """The unit vector of a text: each word and each of its trigrams adds to one dimension."""
        vector = np.zeros(self.dimensions, dtype=np.float32)
        for word in _WORD.findall(text.lower()):
            self._add(vector, word, 1.0)
            padded = f"^{word}$"
            for start in range(len(padded) - 2):
                self._add(vector, padded[start : start + 3], 0.5)
        norm = float(np.linalg.norm(vector))
        return vector / norm if norm else vector

    def warm_up(self) -> None:
        self.embed("How much should I save for retirement?")

    def _add(self, vector: Vector, feature: str, weight: float) -> None:
        # One hash gives both the dimension and the sign, so that collisions cancel out on average.
        code = zlib.crc32(feature.encode())
        vector[(code >> 1) % self.dimensions] += weight if code & 1 else -weight
