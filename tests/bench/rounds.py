"""Rounds of runs: the tools take turns, so that whatever drifts on the machine hits all alike."""

import os
import shutil
import sys
import time
from dataclasses import dataclass, field

import measure
from hub import Hub, Store
from measure import Stats
from tools import CP, CURL, HF, HF_XET, OURS, environment


@dataclass
class Result:
    """What the tools took for a scenario in one place."""

    scenario: object
    place: str
    stats: dict = field(default_factory=dict)

    def ratio(self, other):
        return self.stats[OURS].wall / self.stats[other].wall


@dataclass
class Warm:
    scenario: object
    stats: Stats
    requests: int


def on_tmpfs(scenario, hub, tools, tmpfs, count):
    names = [OURS, HF_XET] if scenario.in_xet else [OURS, HF, CURL]
    return turns(Result(scenario, "tmpfs"), names, hub, tools, tmpfs, count)


def on_disk(scenario, hub, tools, tmpfs, disk, count):
    """The data that cp copies lie in memory: reading costs it nothing."""
    source = copied(scenario, hub, tools, tmpfs)
    result = turns(Result(scenario, "disk"), [OURS, HF, CURL, CP], hub, tools, disk, count, source)
    shutil.rmtree(source)
    return result


def copied(scenario, hub, tools, folder):
    """All files of the scenario in a new folder, without the cache's layout."""
    source = folder / "source"
    source.mkdir()
    measure.run(tools.commands(CURL, scenario, hub, source), environment(CURL, hub, source))
    (source / "curl").unlink(missing_ok=True)
    return source


def in_xet(scenario, tools, tmpfs, count):
    """The same files by the official client of their store, ours and Python's. Both work with the server's pace."""
    with Hub(tools.hub, scenario.repo, tmpfs) as hub:
        source = copied(scenario, hub, tools, tmpfs)
    say(f"{scenario.name}: filling the store")
    files = [file.rename(file.with_suffix("")) for file in source.iterdir()]
    with Store(tools.store, files, tmpfs) as store:
        shutil.rmtree(source)
        with Hub(tools.hub, scenario.known_as(store.hashes).repo, tmpfs, store) as hub:
            return on_tmpfs(scenario, hub, tools, tmpfs, count)


def turns(result, names, hub, tools, folder, count, source=None):
    samples = {name: [] for name in names}
    for turn in range(count):
        for name in names[turn % len(names):] + names[: turn % len(names)]:
            say(f"{result.scenario.name} on {result.place}, round {turn + 1} of {count}: {name}")
            with fresh(folder, 0 if result.place == "disk" else result.scenario.bytes) as target:
                commands = tools.commands(name, result.scenario, hub, target, source)
                settle = target if result.place == "disk" else None
                sample = measure.run(commands, environment(name, hub, target), settle)
                arrived(target, result.scenario)
            say(f"    {sample.wall:.2f} s")
            samples[name].append(sample)
    result.stats = {name: Stats(samples) for name, samples in samples.items()}
    return result


def warm(scenario, hub, tools, tmpfs, count):
    """A commit that is complete in the cache, asked for again by its hash."""
    pinned = tools.fetch(scenario, "--revision", hub.commit)
    with fresh(tmpfs) as target:
        env = environment(OURS, hub, target)
        measure.run([pinned], env)
        hub.ctl("clear-requests")
        say(f"{scenario.name}, complete: {count} runs")
        stats = Stats([measure.run([pinned], env) for _ in range(count)])
        return Warm(scenario, stats, hub.requests())


def listing(scenario, hub, tools, tmpfs, count):
    """A long listing, of which nothing, little or all is wanted."""
    few = ["--include", "part-001/item-00100*"]
    found = []
    for name, tool, command in [
        ("modelcache check", OURS, tools.check(scenario)),
        ("modelcache fetch --include …", OURS, tools.fetch(scenario, *few)),
        ("hf download --include …", HF, tools.hf(scenario, *few)),
        ("modelcache fetch", OURS, tools.fetch(scenario)),
    ]:
        samples = []
        for turn in range(count):
            say(f"{scenario.name}, round {turn + 1} of {count}: {name}")
            with fresh(tmpfs) as target:
                samples.append(measure.run([command], environment(tool, hub, target)))
        found.append((name, scenario, Stats(samples)))
    return found


class fresh:
    """An empty folder, on a machine that has nothing left to write.

    A virtual machine gives free memory back to its host, and is slow when it touches it again: `touched` so many bytes
    before, so that this hits no tool.
    """

    def __init__(self, folder, touched=0):
        self.path, self.touched = folder / "target", touched

    def __enter__(self):
        self.path.mkdir()
        os.sync()
        touch_memory(self.path, self.touched * 5 // 4)
        return self.path

    def __exit__(self, *_):
        """Gives the space back, and keeps the files, emptied: ext4 passes over what was removed in the last seconds, one by
        one, whenever a file is made. A folder that lies beside costs nothing."""
        for path in files_below(self.path):
            os.truncate(path, 0)
        self.path.rename(self.path.with_name(f"used-{time.monotonic_ns()}"))
        os.sync()


def touch_memory(folder, size):
    path = folder / "touched"
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    path.unlink()


def arrived(target, scenario):
    """A run that brought something else would be no measurement."""
    sizes = (os.lstat(path) for path in files_below(target))
    found = sum(stat.st_size for stat in sizes if stat.st_size)
    if found < scenario.bytes:
        raise RuntimeError(f"{found} of {scenario.bytes} bytes arrived")


def files_below(folder):
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if not os.path.islink(path):
                yield path


def say(line):
    print(line, file=sys.stderr, flush=True)
