"""The library, as the package around it sees it; the package's own functions are what to use."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

__version__: str

_Report = Optional[Callable[[str, int, int, str], Any]]
_Wish = Dict[str, Optional[str]]
_Step = Tuple[float, int, int]

class Preprocess:
    shape: Tuple[int, int, int]
    pixel_mean: List[float]
    pixel_std: List[float]
    def of_picture(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
    def of_file(self, path: str) -> NDArray[np.uint8]: ...
    def to_json(self) -> str: ...

class Images:
    class_names: Optional[List[str]]
    notes: List[str]
    @classmethod
    def folder(cls, path: str, outputs: Optional[int] = None, labels: Optional[str] = None) -> Images: ...
    @classmethod
    def files(cls, paths: Sequence[str], labels: Sequence[int]) -> Images: ...
    @classmethod
    def pixels(cls, pixels: Sequence[NDArray[np.uint8]], labels: Sequence[int]) -> Images: ...
    def spread(self, count: int) -> Images: ...
    def __len__(self) -> int: ...

class Network:
    outputs: int
    notes: List[str]
    layers: List[str]
    preprocess: Preprocess
    def __init__(
        self,
        path: str,
        onnx: Optional[bytes],
        sha256: str,
        preprocess: _Wish,
        input_size: Optional[Tuple[int, int]] = None,
        arch: Optional[str] = None,
        output_name: Optional[str] = None,
    ) -> None: ...

class Model:
    name: str
    classes: List[str]
    outputs: int
    preprocess: Preprocess
    layers: List[Dict[str, Any]]
    notes: List[Tuple[bool, str]]
    unreadable: List[Tuple[str, str]]
    images: Optional[Tuple[int, int]]
    is_reached: Optional[bool]
    @staticmethod
    def read(path: str) -> Model: ...
    @staticmethod
    def from_bytes(data: bytes) -> Model: ...
    def to_bytes(self) -> bytes: ...
    def write(self, path: str) -> None: ...
    def session(self, threads: Optional[int] = None) -> Session: ...
    def at(self, setting: str) -> Model: ...
    def provenance(self) -> str: ...
    def totals(self) -> Tuple[int, int, float, float]: ...
    def fidelity(self) -> Optional[Dict[str, Any]]: ...
    def __len__(self) -> int: ...

class Session:
    shape: Tuple[int, int, int]
    threads: int
    kernels: str
    logit_scale: float
    widths: List[int]
    settings: List[Tuple[str, List[int]]]
    layers: List[Tuple[str, int]]
    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.int32]: ...
    def set_bits(self, setting: str, layer: Optional[str] = None) -> None: ...
    def keep_at_most(self, bytes: int) -> None: ...

class Plan:
    is_proven: bool
    @staticmethod
    def read(path: str) -> Plan: ...
    def write(self, path: str) -> None: ...
    def to_json(self) -> str: ...

def convert(
    network: Network,
    images: Images,
    options: Dict[str, Any],
    plan: Optional[Plan] = None,
    classes: Optional[List[str]] = None,
    threads: Optional[int] = None,
    report: _Report = None,
) -> Model: ...
def evaluate(
    model: Model,
    images: Images,
    reference: Optional[Network] = None,
    threads: Optional[int] = None,
    report: _Report = None,
) -> Dict[str, Any]: ...
def evaluate_network(
    network: Network, images: Images, threads: Optional[int] = None, report: _Report = None
) -> Dict[str, Any]: ...
def plan(
    source: Union[Tuple[Network, Images], str],
    wish: Dict[str, Any],
    budgets: Dict[str, Any],
    threads: Optional[int] = None,
    report: _Report = None,
) -> Plan: ...
def ternarize_tensor(
    weights: NDArray[np.float32], group: int, scale_bits: Optional[int] = None, threads: Optional[int] = None
) -> Tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.float32], float]: ...
def layer_states(model: Model) -> List[Dict[str, Any]]: ...
def repack(
    network: Network, model: Model, layers: Sequence[Tuple[str, NDArray[np.int8], Optional[_Step]]]
) -> Model: ...
def crop_of(wish: _Wish) -> Optional[Tuple[int, int]]: ...
def is_packed_model(path: str) -> bool: ...
def command_line(arguments: Sequence[str]) -> int: ...
