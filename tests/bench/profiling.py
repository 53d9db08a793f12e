"""Where the time of a fetch goes, by perf: the kernel's part by system call, our own by function."""

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass

import measure
from tools import OURS, environment

#: What a function's name says that it does; the first that fits counts.
WORK = [
    ("hashing", r"sha2|sha1|digest"),
    ("moving bytes in memory", r"mem(cpy|move|set)|_mem"),
    ("allocating", r"malloc|free|realloc|alloc"),
    ("HTTP", r"hyper|reqwest|http|h1::"),
    ("TLS", r"rustls|ring_"),
    ("our own code", r"modelcache"),
    ("waiting and waking", r"tokio|mio::|futures|parking|std::sync|sched_yield"),
]


@dataclass
class Profile:
    shares: list  # (what, percent)


def of(root, hub, scenario, folder):
    """None where perf is missing or not allowed."""
    if not shutil.which("perf"):
        return None
    program = with_symbols(root)
    target, data = folder / "profiled", folder / "perf.data"
    target.mkdir()
    record = ["perf", "record", "--quiet", "--call-graph=fp", "--freq=999", f"--output={data}", program, "fetch", scenario.id]
    try:
        measure.run([record], environment(OURS, hub, target))
        script = ["perf", "script", f"--input={data}", "--fields=period,ip,sym,dso"]
        samples = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    except (RuntimeError, subprocess.CalledProcessError):
        return None
    finally:
        shutil.rmtree(target)
        data.unlink(missing_ok=True)
    return Profile(shares(samples))


def with_symbols(root):
    """The release build, in a folder of its own because it differs in what is stripped."""
    env = os.environ | {"CARGO_PROFILE_RELEASE_STRIP": "none", "CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only",
                        "RUSTFLAGS": "-Cforce-frame-pointers=yes"}
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--bin", "modelcache", "--target-dir", "target/profile"]
    subprocess.run(build, cwd=root, env=env, check=True)
    return root / "target/profile/release/modelcache"


def shares(samples):
    """Each stack counts once, as what its innermost frame works for."""
    found = Counter()
    for stack in samples.split("\n\n"):
        lines = [line for line in stack.splitlines() if line.strip()]
        if len(lines) < 2:
            continue
        found[work(lines[1:])] += int(lines[0])
    total = sum(found.values()) or 1
    return [(what, 100 * part / total) for what, part in found.most_common() if part / total >= 0.005]


def work(frames):
    kernel = [frame for frame in frames if "([kernel" in frame]
    if kernel:
        # From the outside in: the call that the program made, whatever the kernel then did for it.
        calls = (re.search(r"(?:__(?:x64|arm64)_sys|ksys)_([a-z]\w*)", frame) for frame in reversed(kernel))
        call = next((match[1] for match in calls if match), None)
        if call:
            return f"kernel: {call}"
        return "kernel: page faults" if any("fault" in frame for frame in kernel) else "kernel: interrupts"
    return next((what for what, pattern in WORK if re.search(pattern, frames[0])), "other")
