"""Memory limits as the engine sets them: control groups of version 1 or 2."""
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20


class MemoryLimit:
    """A group that may use so much memory and no swap. Groups below it count as its own."""

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
        """Words before a command that start it in the group."""
        return ["bash", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "enter"]

    def used_mib(self) -> float:
        """What cannot be given back: without the page cache."""
        name, wanted = ("total_rss", 1) if self.version_1 else ("anon", 1)
        for line in (self.path / "memory.stat").read_text().splitlines():
            key, value = line.split()
            if key == name:
                return int(value) * wanted / MIB
        return 0.0

    def killed(self) -> int:
        """Processes that were ended for want of memory."""
        path = self.path / ("memory.oom_control" if self.version_1 else "memory.events")
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts.get("oom_kill", 0))

    def _write(self, name: str, value: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.path / name).write_text(value)


@contextlib.contextmanager
def memory_limit(name: str, limit_mib: int) -> Iterator[MemoryLimit | None]:
    """None where this machine has no control groups to write to."""
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
    # A group can go when its last process has been reaped, a moment after its end.
    for below in sorted((item for item in path.iterdir() if item.is_dir()), reverse=True):
        remove(below)
    for _ in range(50):
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.1)
