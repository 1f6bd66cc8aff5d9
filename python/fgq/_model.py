"""Packed models."""

from __future__ import annotations

import html
import json
from os import fspath
from typing import Any, Dict, List, Optional, Union

from . import _fgq
from ._errors import in_parameters
from ._session import Session


class Model:
    """A packed model: everything that its ``.fgq`` file holds. Made by :func:`fgq.convert` or :func:`fgq.load`."""

    def __init__(self, native: _fgq.Model):
        self._native = native

    def save(self, path) -> None:
        """Writes the model's file, whole or not at all; the same bytes that the command writes.

        Raises:
            FileError: The operating system refuses.
        """
        self._native.write(fspath(path))

    def to_bytes(self) -> bytes:
        """The bytes of the model's file."""
        return self._native.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """The model whose file has these bytes.

        Raises:
            FormatError: They are no packed model.
        """
        return cls(_fgq.Model.from_bytes(bytes(data)))

    def __reduce__(self):
        return Model.from_bytes, (self.to_bytes(),)

    def __eq__(self, other) -> bool:
        return isinstance(other, Model) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def session(self, threads: Optional[int] = None) -> Session:
        """Prepares the model for execution.

        Args:
            threads: How many threads run it; as many as the machine has cores if left out. Results do not depend on it.
        """
        return Session(self._native.session(threads), self._native.preprocess, self.classes)

    def at(self, setting: Union[int, str]) -> Model:
        """Of a model that switches: the model that has one setting (planes or bits, or a name) and nothing else."""
        return Model(self._native.at(str(setting)))

    def report(self, path) -> None:
        """Writes a web page on the model and, if this process made it, on the conversion: one file that needs no network."""
        self._native.report(fspath(path))

    @property
    def name(self) -> str:
        """Name of the network."""
        return self._native.name

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._native)

    @property
    def classes(self) -> List[str]:
        """Names of the classes in the order of the outputs; empty if they are not known."""
        return self._native.classes

    @property
    def preprocess(self) -> Dict[str, Any]:
        """How images are prepared, as the file says it."""
        return json.loads(self._native.preprocess.to_json())

    @property
    def provenance(self) -> Dict[str, Any]:
        """Where the model comes from: program, source, its SHA-256, options."""
        return json.loads(self._native.provenance())

    @property
    def layers(self) -> List[Dict[str, Any]]:
        """The layers with weights, a dictionary for each: ``pandas.DataFrame(model.layers)`` makes a table of them.

        Names, kinds, precisions, shapes, weights, bytes, ``zeros`` in percent; where the file says it, ratios of signal to
        noise in dB; right after a conversion also ``reason`` and ``seconds``.
        """
        return self._native.layers

    @property
    def fidelity(self) -> Optional[Dict[str, Any]]:
        """What the conversion measured against full precision: ``images``, whether they were ``held_back``, ``agreement``
        in percent and ``divergence`` in nats with their 95% intervals, ``logits_sqnr`` in dB."""
        return self._native.fidelity()

    @property
    def notes(self) -> List[str]:
        """What the conversion had to say, if this process did it."""
        return [in_parameters(text) for _, text in self._native.notes]

    @property
    def unreadable(self) -> Dict[str, str]:
        """Images that the conversion could not read, and why."""
        return dict(self._native.unreadable)

    @property
    def bits_per_weight(self) -> float:
        """Bits of the whole file per weight."""
        return self._native.totals()[2]

    def __repr__(self) -> str:
        bits = self.bits_per_weight
        return f"<fgq.Model {self.name!r}: {self.size:,} bytes, {bits:.2f} bits per weight, {len(self.classes)} names>"

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        columns = ["name", "kind", "precision", "weights", "bytes"]
        cell = lambda value: html.escape(f"{value:,}" if isinstance(value, int) else str(value))  # noqa: E731
        head = "".join(f"<th>{column}</th>" for column in columns)
        rows = "".join(
            "<tr>" + "".join(f"<td>{cell(layer[column])}</td>" for column in columns) + "</tr>" for layer in self.layers
        )
        return (
            f"<p><b>{html.escape(self.name)}</b>: {self.size:,} bytes, {self.bits_per_weight:.2f} bits per weight"
            f"{self._agreement()}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def _agreement(self) -> str:
        fidelity = self.fidelity
        if not fidelity or "agreement" not in fidelity:
            return ""
        low, high = fidelity["agreement_ci95"]
        kind = "held-back" if fidelity["held_back"] else "calibration"
        return (
            f", {fidelity['agreement']:.1f}% of full precision's answers on {fidelity['images']} {kind} images"
            f" (95% interval {low:.1f} to {high:.1f})"
        )
