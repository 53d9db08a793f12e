"""Answers of the official client's own functions: one JSON value a line in, one a line out, in the same order."""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path


def patterns(case):
    """Which of some names two lists of patterns select."""
    from huggingface_hub.utils import filter_repo_objects

    selected = set(
        filter_repo_objects(
            case["names"],
            # An empty list of wanted patterns means none to the client; whoever has no wish gives it no list.
            allow_patterns=case["include"] or None,
            ignore_patterns=case["exclude"],
        )
    )
    return [name in selected for name in case["names"]]


def repo_folder(case):
    """The folder of a repo, or nothing if there can be no such repo."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name

    try:
        return repo_folder_name(repo_id=case["id"], repo_type=case["type"])
    except HFValidationError:
        return None


def entry(case):
    """Where a file of a commit lies, and what the link there says; nothing where the path leads out of its folder."""
    from huggingface_hub.file_download import _create_symlink, _get_pointer_path

    with tempfile.TemporaryDirectory() as root:
        try:
            pointer = Path(_get_pointer_path(root, case["commit"], case["path"]))
        except ValueError:
            return None
        pointer.parent.mkdir(parents=True)
        _create_symlink(os.path.join(root, "blobs", case["etag"]), str(pointer))
        return {"path": str(pointer.relative_to(root)), "link": os.readlink(pointer)}


def reference(case):
    """The file that holds the commit of a revision, with its content; nothing where there is none."""
    from huggingface_hub.file_download import _cache_commit_hash_for_specific_revision

    with tempfile.TemporaryDirectory() as root:
        _cache_commit_hash_for_specific_revision(root, case["revision"], case["commit"])
        found = [path for path in Path(root).rglob("*") if path.is_file()]
        return [[str(path.relative_to(root)), path.read_text()] for path in found]


def tree(case):
    """The file with the listing of a commit."""
    from huggingface_hub._tree_cache import _tree_cache_path

    return _tree_cache_path(case["storage"], case["commit"])


def environment(case):
    """What the client takes from its environment."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _auth

    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(case)
    try:
        importlib.reload(constants)
        return {
            "cache": constants.HF_HUB_CACHE,
            "token_path": constants.HF_TOKEN_PATH,
            "token": _auth._get_token_from_environment(),
            "endpoint": constants.ENDPOINT,
            "offline": constants.HF_HUB_OFFLINE,
            "without_links": constants.HF_HUB_DISABLE_SYMLINKS,
        }
    finally:
        os.environ.clear()
        os.environ.update(kept)


def main():
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    questions = {kind.__name__: kind for kind in (patterns, repo_folder, entry, reference, tree, environment)}
    answer = questions[sys.argv[1]]
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))))


if __name__ == "__main__":
    main()
