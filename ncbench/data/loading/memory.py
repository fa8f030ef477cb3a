"""How much memory is free, on the device or on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")
_UNKNOWN = 2 << 30  # a system that says nothing about its memory


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated on a device.

    For the CPU that is what the kernel and the process's control group leave; page cache counts as free.
    """
    if device.type == "cuda":
        # What the caching allocator holds without using it is free for us too.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    return min(_machine(), _control_group())


def _machine() -> int:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN


def _control_group() -> int:
    """Return what the tightest limit on the way from the process's control group to the root leaves."""
    free = [2**63]
    for line in _lines(Path("/proc/self/cgroup")):
        number, controllers, place = line.split(":", 2)
        if number == "0":
            base, names = _CGROUP, ("memory.max", "memory.current")
        elif controllers == "memory":
            base, names = _CGROUP / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        folder = base / place.strip().lstrip("/")
        for group in (folder, *folder.parents):
            limit, used = (_number(group / name) for name in names)
            if limit is not None and used is not None:
                free.append(limit - used + _cached(group))
            if group == base:
                break
    return max(0, min(free))


def _cached(group: Path) -> int:
    for line in _lines(group / "memory.stat"):
        if line.startswith(("inactive_file ", "total_inactive_file ")):
            return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
