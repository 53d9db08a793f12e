"""A stand-in Hub with one repo, on free ports of loopback."""

import json
import os
import subprocess


class Hub:
    def __init__(self, program, repo, folder, store=None):
        self.program, self.repo, self.folder, self.store = program, repo, folder, store

    def __enter__(self):
        state = self.folder / "state.json"
        state.write_text(json.dumps({"repos": [self.repo]} | ({"xet_store": self.store.url} if self.store else {})))
        anywhere = "127.0.0.1:0"
        command = [self.program, "--listen", anywhere, "--cdn-listen", anywhere, "--control", anywhere, "--state", state]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        fields = dict(word.split("=", 1) for word in self.process.stdout.readline().split())
        state.unlink()
        self.url, self.control = fields["hub"], fields["control"]
        try:
            self.commit = self.ctl("commit", "--repo", self.repo["name"])
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        if self.process.wait() != 0:
            raise RuntimeError("the stand-in Hub is not content: has a token leaked?")

    def ctl(self, *order):
        command = [self.program, "ctl", "--control", self.control, *order]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def file_url(self, path):
        return f"{self.url}/{self.repo['name']}/resolve/{self.commit}/{path}"

    def requests(self):
        return len(self.ctl("requests").splitlines())


class Store:
    """The official Xet store, with some files in it."""

    def __init__(self, program, files, folder):
        self.program, self.files, self.folder = program, files, folder

    def __enter__(self):
        env = os.environ | {"TMPDIR": str(self.folder)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([self.program, *self.files], env=env, **pipes)
        self.url = self.process.stdout.readline().strip()
        told = [self.process.stdout.readline().split() for _ in self.files]
        if not all(told):
            self.process.kill()
            raise RuntimeError("the Xet store did not take the files")
        self.hashes = {path.name: hash for path, (hash, *_) in zip(self.files, told)}
        return self

    def __exit__(self, *_):
        # It ends with its input, and removes what it holds.
        self.process.communicate()
