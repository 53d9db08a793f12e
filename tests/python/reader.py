"""Looks at a cache as a reader does, offline, again and again until a file appears, and says what it saw.

reader.py CACHE STOP REPO FILE...   prints {"nothing": N, "whole": N, "partial": [what]}
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

from huggingface_hub import snapshot_download  # noqa: E402
from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: E402

cache, stop, repo, *files = sys.argv[1:]
seen = {"nothing": 0, "whole": 0, "partial": []}
last = False
while True:
    try:
        folder = snapshot_download(repo, cache_dir=cache)
    # The whole repo may be taken away between two steps of a look, by who runs this.
    except (LocalEntryNotFoundError, FileNotFoundError):
        seen["nothing"] += 1
    else:
        missing = [file for file in files if not os.path.isfile(os.path.join(folder, file))]
        if missing and os.path.isdir(folder):
            seen["partial"].append(missing)
        elif not missing:
            seen["whole"] += 1
    if last:
        break
    last = os.path.exists(stop)
print(json.dumps(seen))
