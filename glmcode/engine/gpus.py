"""GPUs: as a person writes them (`8x24GiB`), and as this machine has them.

A driver can hang, so it is only ever asked in another process with a time limit: through NVML
(`nvidia-ml-py`, where it is installed), else through `nvidia-smi`. Must not import NVML into
this process.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from glmcode.engine.bounded import bounded

LIMIT_S = 8.0
_SPEC = re.compile(
    r"(?:([0-9]{1,5})\s*[x×*]\s*)?([0-9]{1,7}(?:\.[0-9]{1,3})?)\s*(GiB|GB|G|MiB)", re.IGNORECASE
)
_QUERY = "index,name,memory.total,memory.free,compute_cap,driver_version"
_NVML = """
import json, pynvml as n
n.nvmlInit()
found = []
for i in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(i)
    m = n.nvmlDeviceGetMemoryInfo(h)
    major, minor = n.nvmlDeviceGetCudaComputeCapability(h)
    name = n.nvmlDeviceGetName(h)
    name = name.decode(errors="replace") if isinstance(name, bytes) else name
    uuid = n.nvmlDeviceGetUUID(h)
    uuid = uuid.decode(errors="replace") if isinstance(uuid, bytes) else uuid
    found.append([i, name, m.total / 2**20, m.free / 2**20, major * 10 + minor, uuid])
driver = n.nvmlSystemGetDriverVersion()
driver = driver.decode(errors="replace") if isinstance(driver, bytes) else driver
peers = []
for i in range(len(found)):
    for j in range(i + 1, len(found)):
        try:
            a, b = n.nvmlDeviceGetHandleByIndex(i), n.nvmlDeviceGetHandleByIndex(j)
            peers.append(n.nvmlDeviceGetP2PStatus(a, b, n.NVML_P2P_CAPS_INDEX_READ) == 0)
        except n.NVMLError:
            pass
print(json.dumps({"gpus": found, "driver": driver, "peers": [sum(peers), len(peers)]}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU. Memory in MiB; capability times ten (86 for 8.6), 0 when unknown; uuid: "" where
    nobody said it."""

    index: int
    name: str
    total_mib: float
    free_mib: float
    capability: int
    uuid: str = ""

    @property
    def gib(self) -> float:
        """Its memory in GiB."""
        return self.total_mib / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """What was found. source: who answered; driver: its version; peers: (pairs that reach each
    other's memory, pairs asked), or None; fault: why nobody answered, though there seems to be
    a GPU."""

    found: tuple[Gpu, ...] = ()
    source: str = ""
    driver: str = ""
    peers: tuple[int, int] | None = None
    fault: str = ""

    @property
    def smallest_gib(self) -> float:
        """Memory of the smallest, in GiB; 0 without any."""
        return min((gpu.gib for gpu in self.found), default=0.0)


class GpuError(ValueError):
    """A description of GPUs that is none; one sentence."""


def parse_gpus(text: str) -> tuple[int, float]:
    """`8x24GiB` -> (8, 24.0): how many, and GiB of each. "GB" is taken as vendors mean it, GiB.

    Raises GpuError.
    """
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        mixed = re.search(r"[+;]|,\s*\d+\s*[x×*]|\d\s+\d", text)
        more = " (of different sizes the smallest counts for all: 3x24GiB)" if mixed else ""
        raise GpuError(f"{text[:40]!r} is no set of GPUs: write it like 8x24GiB{more}")
    count = int(match[1] or 1)
    size = float(match[2]) / (1024 if match[3].lower() == "mib" else 1)
    if not 1 <= count <= 4096 or not 0.25 <= size <= 4096:
        raise GpuError(f"{text[:40]!r}: 1 to 4096 GPUs of 0.25 to 4096 GiB are possible")
    return count, size


def may_have_gpus() -> bool:
    """Whether it is worth asking: costs no process."""
    places = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")
    return any(Path(place).exists() for place in places) or shutil.which("nvidia-smi") is not None


def find_gpus(limit_s: float = LIMIT_S) -> Gpus:
    """The NVIDIA GPUs of this machine; takes at most about twice `limit_s`. Never raises."""
    if not may_have_gpus():
        return Gpus()
    asked = bounded([sys.executable, "-c", _NVML], limit_s)
    if asked.code == 0 and (found := _from_nvml(asked.out)) is not None:
        return found
    program = shutil.which("nvidia-smi")
    if program is None:
        return Gpus(fault=f"NVML: {asked.why()}; and there is no nvidia-smi")
    words = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    told = bounded(words, limit_s)
    if told.code == 0:
        return _from_smi(told.out)
    return Gpus(fault=f"nvidia-smi: {told.why()}")


def _from_nvml(text: str) -> Gpus | None:
    try:
        value = json.loads(text)
        found = tuple(
            Gpu(
                index=i,
                name=str(name),
                total_mib=total,
                free_mib=free,
                capability=capability,
                uuid=str(uuid),
            )
            for i, name, total, free, capability, uuid in value["gpus"]
        )
        yes, asked = value["peers"]
        return Gpus(
            found=found,
            source="NVML",
            driver=str(value["driver"]),
            peers=(yes, asked) if asked else None,
        )
    except (ValueError, KeyError, TypeError):
        return None


def _from_smi(text: str) -> Gpus:
    found, driver = [], ""
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        try:
            index, total, free = int(words[0]), float(words[-4]), float(words[-3])
            capability = round(float(words[-2]) * 10)
        except (ValueError, IndexError):
            continue
        driver = words[-1]
        name = ", ".join(words[1:-4])
        found.append(
            Gpu(index=index, name=name, total_mib=total, free_mib=free, capability=capability)
        )
    if not found:
        return Gpus(fault="nvidia-smi named no GPU", source="nvidia-smi")
    return Gpus(found=tuple(found), source="nvidia-smi", driver=driver)
