"""What is fetched: repos as a state file of the stand-in Hub describes them."""

import random
from dataclasses import dataclass, replace

MB = 1_000_000


@dataclass
class Scenario:
    name: str
    what: str
    repo: dict
    bytes: int
    #: How many curls fetch at once, each a part of the files or, of a single file, a range.
    curls: int = 4
    #: Whether its large files are in the Xet store too.
    in_xet: bool = False

    @property
    def id(self):
        return self.repo["name"]

    @property
    def large(self):
        """Paths and sizes of the files that come from the other origin."""
        return [(path, spec["size"]) for path, spec in self.repo.get("random", {}).items()]

    @property
    def small(self):
        return list(self.repo.get("files", {}))


    def known_as(self, hashes):
        """The same, whose large files are in a Xet store by these hashes."""
        random = {path: spec | {"xet": hashes[path]} for path, spec in self.repo["random"].items()}
        return replace(self, repo=self.repo | {"random": random})


def scenarios(scale):
    return [
        large("1 large", 1, int(2000 * MB * scale)),
        large("4 large", 4, int(500 * MB * scale)),
        small("5,000 small", int(5000 * scale)),
    ]


def large(name, count, size):
    files = {f"model-{n}-of-{count}.safetensors": {"seed": 16 * count + n, "size": size, "held": True} for n in range(1, count + 1)}
    repo = {"name": "bench/large", "random": files}
    return Scenario(name, f"{count} × {size / MB:,.0f} MB in LFS, from the other origin", repo, count * size)


def xet(scale):
    found = large("4 large in Xet", 4, int(500 * MB * scale))
    return replace(found, what=f"{found.what}, and in the official Xet store", in_xet=True)


def small(name, count):
    """Files of 1 to 7 kB in git itself, a hundred a folder. The same in each run."""
    luck = random.Random(7)
    files = {f"part-{n // 100:03}/item-{n:05}.json": text(luck, luck.randrange(1000, 7000)) for n in range(count)}
    total = sum(map(len, files.values()))
    return Scenario(name, f"{count:,} × 1 to 7 kB in git, from the Hub itself", {"name": "bench/small", "files": files}, total)


def listing(scale):
    count = int(100_000 * scale)
    files = {f"part-{n // 1000:03}/item-{n:06}.txt": f"item {n}" for n in range(count)}
    total = sum(map(len, files.values()))
    return Scenario("listing", f"{count:,} files, listed in pages of 1,000", {"name": "bench/listing", "files": files}, total)


def text(luck, length):
    return "".join(luck.choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=length))
