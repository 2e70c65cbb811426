"""Runs and counts checks, each described by a sentence. Any thread may add one."""
import threading
import time
import traceback
from collections.abc import Callable


class Checks:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self._lock = threading.Lock()

    def check(self, sentence: str, body: Callable[[], object]) -> bool:
        """Runs `body`; an exception is a failure. Returns whether it passed."""
        started = time.monotonic()
        problem = ""
        try:
            body()
        except Exception:
            problem = "\n" + traceback.format_exc()
        with self._lock:
            if problem:
                self.failed += 1
            else:
                self.passed += 1
            print(f"{'FAILED' if problem else 'ok    '} {sentence} ({time.monotonic() - started:.1f} s){problem}", flush=True)
        return not problem

    def add(self, what: str, passed: int, failed: int) -> None:
        """Adds the counts of another test runner."""
        with self._lock:
            self.passed += passed
            self.failed += failed
            print(f"{'FAILED' if failed else 'ok    '} {what}: {passed} passed, {failed} failed", flush=True)

    def note(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)


def equal(actual: object, expected: object) -> None:
    if actual != expected:
        raise AssertionError(f"expected {expected!r}, found {actual!r}")


def holds(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)
