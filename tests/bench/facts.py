"""What a reader must know of the machine and of the programs. Nothing that names a machine or a folder."""

import os
import platform
import subprocess
from datetime import UTC, datetime


def gathered(root, tools, tmpfs, disk):
    version = lambda package: said(tools.venv / "bin/python", "-c", f"import importlib.metadata as m; print(m.version('{package}'))")
    return {
        "Date": f"{datetime.now(UTC):%Y-%m-%d}",
        "Machine": f"{os.cpu_count()} cores ({processor()}), {memory():.0f} GB of memory, {platform.system()} {platform.release()}",
        "File systems": f"{file_system(tmpfs)} for “tmpfs”, {file_system(disk)} for “disk”",
        "modelcache": f"{said(tools.modelcache, '--version').split()[-1]} at {said('git', '-C', root, 'describe', '--always', '--dirty')}, "
        f"release build by {' '.join(said('rustc', '--version').split()[:2])}",
        "hf download": f"huggingface_hub {version('huggingface_hub')}, hf-xet {version('hf-xet')}, Python {said(tools.venv / 'bin/python', '--version').split()[-1]}",
        "curl": said("curl", "--version").split()[1],
        "cp": said("cp", "--version").splitlines()[0].split()[-1],
    }


def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def processor():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine())


def memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def file_system(folder):
    return said("df", "--output=fstype", folder).splitlines()[-1]
