"""Fleets with masters that start at once, so that hundreds of starts take little time."""

from __future__ import annotations

import os
from typing import Any

from tests.fleet import Fleet
from tests.warm import WarmProcess


class WarmFleet(Fleet):
    """A fleet whose masters are forked from a process that has imported everything."""

    def close(self) -> None:
        """End everything that this test started; a forked process does not carry the mark, so masters end by name."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        super().close()

    def _start(self, name: str, *module: str, environment: dict[str, str]) -> None:
        if module[0] != "tunefleet_master":
            super()._start(name, *module, environment=environment)
            return
        variables = {**os.environ, **environment, **self.environment}
        made: Any = WarmProcess(module[1:], self.folder / f"{name}.log", variables)
        self.processes[name] = made
