"""The tools that are compared, each as the commands that fill a folder."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

OURS, HF, HF_XET, CURL, CP = "modelcache", "hf download", "hf download, Xet", "curl", "cp"


@dataclass
class Tools:
    modelcache: Path
    hub: Path
    store: Path
    venv: Path

    @classmethod
    def built(cls, root):
        build = ["cargo", "build", "--release", "--locked", "--quiet"]
        subprocess.run([*build, "--package", "modelcache", "--bin", "modelcache"], cwd=root, check=True)
        subprocess.run([*build, "--package", "modelcache-standin-hub"], cwd=root, check=True)
        subprocess.run([*build, "--package", "modelcache-xet-store"], cwd=root, check=True)
        venv = subprocess.run([root / "tests/python/venv"], check=True, capture_output=True, text=True).stdout.strip()
        release = root / "target/release"
        return cls(release / "modelcache", release / "standin-hub", release / "xet-store", Path(venv))

    def fetch(self, scenario, *more):
        return [self.modelcache, "fetch", scenario.id, *more]

    def check(self, scenario):
        return [self.modelcache, "check", scenario.id]

    def hf(self, scenario, *more):
        return [self.venv / "bin/hf", "download", scenario.id, *more]

    def commands(self, tool, scenario, hub, target, source=None):
        """What a tool runs to get the scenario into the folder."""
        match tool:
            case "modelcache":
                return [self.fetch(scenario)]
            case "hf download" | "hf download, Xet":
                return [self.hf(scenario)]
            case "curl":
                return curls(scenario, hub, target)
            case "cp":
                return [["cp", "-r", source, target / "copy"]]


def environment(tool, hub, target):
    """No token, no proxy, nothing of the user's; no progress bars, telemetry or looking for updates for anybody."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(target / "home"),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(target / "hub"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
    if tool == HF:
        env["HF_HUB_DISABLE_XET"] = "1"
    return env


def curls(scenario, hub, target):
    """The floor: nothing is hashed, laid out or made durable. Small files by one process with 32 connections."""
    curl = ["curl", "--silent", "--show-error", "--fail", "--location"]
    if scenario.small:
        config = target / "curl"
        lines = (f'url = "{hub.file_url(path)}"\noutput = "{target}/{n}"\n' for n, path in enumerate(scenario.small))
        config.write_text("".join(lines))
        return [[*curl, "--parallel", "--parallel-max", "32", "--config", config]]
    parts = scenario.curls // len(scenario.large)
    return [
        [*curl, "--range", f"{n * size // parts}-{(n + 1) * size // parts - 1}", "--output", target / f"{path}.{n}", hub.file_url(path)]
        for path, size in scenario.large
        for n in range(parts)
    ]
