"""Runs commands and says what they took."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from statistics import median

MIB = 1 << 20


@dataclass
class Sample:
    wall: float  # seconds
    cpu: float  # user and system, seconds
    rss: float  # peak, MiB


@dataclass
class Stats:
    """Some samples of the same."""

    samples: list

    @property
    def wall(self):
        return median(sample.wall for sample in self.samples)

    @property
    def fastest(self):
        return min(sample.wall for sample in self.samples)

    @property
    def slowest(self):
        return max(sample.wall for sample in self.samples)

    @property
    def cpu(self):
        return median(sample.cpu for sample in self.samples)

    @property
    def rss(self):
        return max(sample.rss for sample in self.samples)


def run(commands, env, settle=None):
    """All at once, to the last one's end. `settle` is a folder whose file system must then have written everything.

    CPU is that of all of them with their children. Memory is the sum of each one's peak, by `time`: Linux counts the
    memory of whoever starts a program into its peak, and `time` is small.
    """
    with tempfile.TemporaryDirectory() as notes, tempfile.TemporaryFile() as words:
        started = time.monotonic()
        running = []
        for n, command in enumerate(commands):
            timed = ["time", "--quiet", "--format=%M", f"--output={notes}/{n}", *map(str, command)]
            running.append(subprocess.Popen(timed, env=env, stdin=subprocess.DEVNULL, stdout=words, stderr=words))
        cpu, failed = 0.0, False
        for process in running:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            failed |= status != 0
            cpu += usage.ru_utime + usage.ru_stime
        if settle:
            write_out(settle)
        wall = time.monotonic() - started
        if failed:
            words.seek(0)
            raise RuntimeError(f"{commands[0]} failed:\n{words.read().decode(errors='replace')[-2000:]}")
        rss = sum(int(open(f"{notes}/{n}").read()) for n in range(len(commands)))
    return Sample(wall, cpu, rss * 1024 / MIB)


def write_out(folder):
    """Everything of this file system that is only in memory yet."""
    subprocess.run(["sync", "--file-system", folder], check=True)
