# SPDX-License-Identifier: GPL-3.0-or-later
"""The coaching library as a vector database: every topic, in every situation, with every instrument.

The vectors of the parts are small and kept on disk. The index, one vector for each combination, is large; a worker
builds it in memory when it is first asked for it, so that a restart serves at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.services.search.embedding import EmbeddingModel

LIBRARY = Path(__file__).with_name("library.json")
PARTS = ("topics", "situations", "instruments")

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    text: str
    score: float


class VectorStore:
    def __init__(self, path: Path, model: EmbeddingModel) -> None:
        self._path = path
        self._model = model
        self._library: dict[str, list[str]] = {}
        self._fingerprint = ""
        self._vectors: dict[str, Matrix] = {}
        self._index: Matrix | None = None
        self._building = threading.Lock()

    def load(self) -> None:
        """Read the library, and the vectors of its parts from disk where they are those of this very library."""
        source = LIBRARY.read_bytes()
        self._library = json.loads(source)
        self._fingerprint = f"{hashlib.sha256(source).hexdigest()}/{self._model.dimensions}"
        if not self._read():
            self._vectors = {
                part: np.stack([self._model.embed(text) for text in self._library[part]]) for part in PARTS
            }

    def persist(self) -> None:
        """Keep the vectors for the next start; several workers may do so at once, so the file is swapped whole."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.stem}.{os.getpid()}.npz")
        np.savez(temporary, fingerprint=np.array(self._fingerprint), **self._vectors)
        temporary.replace(self._path)

    def search(self, query: str, limit: int) -> list[Hit]:
        """The passages nearest to a query, best first."""
        index = self._get_index()
        scores = index @ self._model.embed(query)
        best = np.argpartition(scores, -limit)[-limit:]
        best = best[np.argsort(-scores[best])]
        return [Hit(self._text(int(row)), round(float(scores[row]), 4)) for row in best]

    def _read(self) -> bool:
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                if str(stored["fingerprint"]) != self._fingerprint:
                    return False
                self._vectors = {part: stored[part] for part in PARTS}
        except (OSError, KeyError, ValueError):
            return False
        return True

    def _get_index(self) -> Matrix:
        with self._building:
            if self._index is None:
                self._index = self._build_index()
            return self._index

    def _build_index(self) -> Matrix:
        topics, situations, instruments = (self._vectors[part] for part in PARTS)
        pairs = (situations[:, None, :] + instruments[None, :, :]).reshape(-1, self._model.dimensions)
        index = np.empty((len(topics) * len(pairs), self._model.dimensions), dtype=np.float32)
        # Topic by topic, so that no intermediate is as large as the index and other threads run in between.
        for number, topic in enumerate(topics):
            block = index[number * len(pairs) : (number + 1) * len(pairs)]
            np.add(pairs, topic, out=block)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        return index

    def _text(self, row: int) -> str:
        topics, situations, instruments = (self._library[part] for part in PARTS)
        rest, instrument = divmod(row, len(instruments))
        topic, situation = divmod(rest, len(situations))
        return f"{topics[topic]} {situations[situation]}, using {instruments[instrument]}."
