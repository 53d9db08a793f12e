"""Write what a cluster holds of the namespace `before`: the keys of its etcd, and the files of its volumes."""

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

ETCD = "http://127.0.0.1:2379/v3/kv/range"
# Owners first: the garbage collector takes what has none.
PREFIXES = [
    f"/registry/{kind}/before/" for kind in ("modelcache.internal/modelcaches", "persistentvolumeclaims", "jobs")
]


def text(data):
    return base64.b64encode(data).decode()


def keys(prefix):
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    body = json.dumps({"key": text(prefix.encode()), "range_end": text(end.encode())}).encode()
    with urllib.request.urlopen(urllib.request.Request(ETCD, body, {"Content-Type": "application/json"})) as answer:
        found = json.load(answer).get("kvs", [])
    # As etcd gives and takes them: both in base64.
    return [{"key": one["key"], "value": one["value"]} for one in found]


volumes, out = json.loads(Path(sys.argv[1]).read_text())["items"], Path(sys.argv[2])
kept = []
for volume in volumes:
    spec = volume["spec"]
    folder = Path((spec.get("hostPath") or spec["local"])["path"])
    archive = out / f"{volume['metadata']['name']}.tar.gz"
    subprocess.run(["tar", "--create", "--gzip", "--file", archive, "--directory", folder, "."], check=True)
    claim = {key: spec["claimRef"][key] for key in ("kind", "apiVersion", "namespace", "name", "uid")}
    kept.append({
        "name": volume["metadata"]["name"],
        "claimRef": claim,
        "accessModes": spec["accessModes"],
        "capacity": spec["capacity"],
        "storageClassName": spec["storageClassName"],
    })
(out / "volumes.json").write_text(json.dumps(kept, indent=1) + "\n")
entries = [entry for prefix in PREFIXES for entry in keys(prefix)]
(out / "etcd.json").write_text(json.dumps(entries, indent=1) + "\n")
print(f"{len(entries)} objects, {len(kept)} volumes")
