"""Judges a Hub cache with the official client. Each command prints one JSON object; a failure is one with "error"."""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

SENTENCES = ["A model fills a volume once.", "Every pod reads it from there."]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def offline_load(args):
    """What `snapshot_download` finds without the network."""
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(
            args.repo, repo_type=args.type, revision=args.revision, cache_dir=args.cache, local_files_only=True
        )
    )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "path": str(folder),
        "files": [
            {"path": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "sha256": sha256(path)}
            for path in files
        ],
    }


def scan(args):
    """What `hf cache ls` knows of a cache."""
    from huggingface_hub import scan_cache_dir

    report = scan_cache_dir(args.cache)
    repos = [
        {
            "type": repo.repo_type,
            "id": repo.repo_id,
            "size": repo.size_on_disk,
            "revisions": [
                {
                    "commit": revision.commit_hash,
                    "refs": sorted(revision.refs),
                    "files": sorted(
                        file.file_path.relative_to(revision.snapshot_path).as_posix() for file in revision.files
                    ),
                }
                for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash)
            ],
        }
        for repo in sorted(report.repos, key=lambda repo: (repo.repo_type, repo.repo_id))
    ]
    return {"repos": repos, "warnings": [str(warning) for warning in report.warnings]}


def verify(args):
    """What `hf cache verify` says: each file's hash against the Hub's listing."""
    from huggingface_hub import HfApi

    found = HfApi(endpoint=args.endpoint, token=args.token or False).verify_repo_checksums(
        args.repo, repo_type=args.type, revision=args.revision, cache_dir=args.cache
    )
    return {
        "commit": found.revision,
        "checked": found.checked_count,
        "mismatches": list(found.mismatches),
        "missing": found.missing_paths,
        "extra": found.extra_paths,
    }


def embed(args):
    """Loads a static-embedding model by its id without the network, and uses it."""
    from model2vec import StaticModel

    vectors = StaticModel.from_pretrained(args.repo).encode(SENTENCES)
    return {
        "shape": list(vectors.shape),
        "checksum": hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest(),
        "norm": round(float((vectors**2).sum()), 4),
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for run in (offline_load, scan, verify, embed):
        command = commands.add_parser(run.__name__.replace("_", "-"), help=run.__doc__)
        command.set_defaults(run=run, offline=run is not verify)
        command.add_argument("cache", help="the folder that HF_HUB_CACHE would name")
        if run is scan:
            continue
        command.add_argument("repo")
        if run is not embed:
            command.add_argument("--type", choices=["model", "dataset", "space"], default="model")
            command.add_argument("--revision")
        if run is verify:
            command.add_argument("--endpoint", required=True)
            command.add_argument("--token", help="by default HF_TOKEN", default=os.environ.get("HF_TOKEN"))
    return parser.parse_args()


def main():
    args = arguments()
    # The libraries read these when they are imported, which is why the imports are where they are.
    os.environ["HF_HUB_CACHE"] = args.cache
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1" if args.offline else "0"
    try:
        print(json.dumps(args.run(args)))
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        sys.exit(1)


if __name__ == "__main__":
    main()
