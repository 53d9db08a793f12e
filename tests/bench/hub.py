"""A stand-in Hub with one repo, on free ports of loopback."""

import json
import subprocess
import urllib.error
import urllib.request


class Hub:
    def __init__(self, program, repo, folder):
        self.program, self.repo, self.folder = program, repo, folder

    def __enter__(self):
        state = self.folder / "state.json"
        state.write_text(json.dumps({"repos": [self.repo]}))
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

    def has_xet(self):
        """Whether its files can be had by Xet: the official client asks this address before it tries."""
        try:
            urllib.request.urlopen(f"{self.url}/api/models/{self.repo['name']}/xet-read-token/{self.commit}").close()
        except urllib.error.HTTPError:
            return False
        return True
