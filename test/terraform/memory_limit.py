"""Sets memory limits as Docker does, with control groups of version 1 or 2."""
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20


class MemoryLimit:
    """A control group with a memory limit and no swap. The memory of its subgroups counts towards the limit."""

    def __init__(self, path: Path, limit_mib: int):
        self.path = path
        self.version_1 = "memory" in path.parts
        path.mkdir()
        if self.version_1:
            self._write("memory.use_hierarchy", "1")
            self._write("memory.limit_in_bytes", str(limit_mib * MIB))
            self._write("memory.swappiness", "0")
        else:
            self._write("memory.max", str(limit_mib * MIB))
            self._write("memory.swap.max", "0")

    def below(self, name: str, limit_mib: int) -> "MemoryLimit":
        if not self.version_1:
            self._write("cgroup.subtree_control", "+memory")
        return MemoryLimit(self.path / name, limit_mib)

    def enter(self) -> list[str]:
        """Returns the words to put before a command so that it starts in the group."""
        return ["bash", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "enter"]

    def used_mib(self) -> float:
        """Returns the memory that the kernel cannot reclaim, which excludes the page cache."""
        name, wanted = ("total_rss", 1) if self.version_1 else ("anon", 1)
        for line in (self.path / "memory.stat").read_text().splitlines():
            key, value = line.split()
            if key == name:
                return int(value) * wanted / MIB
        return 0.0

    def killed(self) -> int:
        """Counts the processes that the kernel killed because the memory ran out."""
        path = self.path / ("memory.oom_control" if self.version_1 else "memory.events")
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts.get("oom_kill", 0))

    def _write(self, name: str, value: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.path / name).write_text(value)


@contextlib.contextmanager
def memory_limit(name: str, limit_mib: int) -> Iterator[MemoryLimit | None]:
    """Yields a group, or None if this machine has no writable control groups."""
    group = None
    with contextlib.suppress(OSError):
        group = MemoryLimit(path_of(name), limit_mib)
    try:
        yield group
    finally:
        if group is not None:
            remove(group.path)


def path_of(name: str) -> Path:
    parent = ROOT / "memory" if (ROOT / "memory").is_dir() else ROOT
    return parent / name


def remove(path: Path) -> None:
    # A group can be removed only when its last process has been reaped, shortly after the process has ended.
    for below in sorted((item for item in path.iterdir() if item.is_dir()), reverse=True):
        remove(below)
    for _ in range(50):
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.1)
