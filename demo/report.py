"""What the demo tells: a bar that redraws on a terminal, plain lines elsewhere, and how it failed."""

import sys
import time

_WIDTH = 30
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 5.0


class DemoError(Exception):
    """Something is not as git says, or could not be done. The message is for the user."""


class Bar:
    """The progress of one step, from its making to `done`."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._terminal = sys.stdout.isatty()
        self._begin = self._shown = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.monotonic() - self._begin

    def update(self, count: int) -> None:
        """Shows how far the step is, if it was long ago that it was shown."""
        now = time.monotonic()
        if now - self._shown < (_REDRAW_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._shown = now
        share = min(1.0, count / max(1, self._total))
        if self._terminal:
            filled = round(share * _WIDTH)
            bar = "#" * filled + "." * (_WIDTH - filled)
            print(f"\r{self._name:<10} [{bar}] {count}/{self._total}", end="\x1b[K", flush=True)
        else:
            print(f"{self._name:<10} {count} of {self._total}", flush=True)

    def done(self, text: str, *, count: int | None = None, unit: str = "") -> None:
        """Ends the step with a line: what was done, how long it took and, with `count`, how fast it was."""
        seconds = self.seconds
        rate = "" if count is None else f" ({count / max(seconds, 1e-6):,.0f} {unit}/s)"
        start = "\r" if self._terminal else ""
        end = "\x1b[K\n" if self._terminal else "\n"
        print(f"{start}{self._name:<10} {text} in {seconds:.2f} s{rate}", end=end, flush=True)
