"""Loads with one library. For each `TYPE REPO REVISION` it prints the mark that the repo has there, or the name of the error.

load.py LIBRARY [TYPE REPO REVISION]...   an empty revision is the default of the library
"""

import json
import os
import sys
from pathlib import Path

WORDS = "each pod loads its model"


def huggingface_hub(kind, repo, revision):
    from huggingface_hub import hf_hub_download, snapshot_download

    folder = Path(snapshot_download(repo, repo_type=kind, **revision))
    for path in folder.rglob("*"):
        if path.is_file():
            single = Path(hf_hub_download(repo, path.relative_to(folder).as_posix(), repo_type=kind, **revision))
            assert single.read_bytes() == path.read_bytes()
    marked = folder / ("data/train.jsonl" if kind == "dataset" else "config.json")
    return json.loads(marked.read_text())["mark"]


def transformers(_kind, repo, revision):
    """All but the tensors' way into a model, which takes a framework: its function that finds the weights is asked here."""
    from safetensors import safe_open
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import cached_file

    config = AutoConfig.from_pretrained(repo, **revision)
    tokenizer = AutoTokenizer.from_pretrained(repo, **revision)
    assert tokenizer.tokenize(WORDS) == WORDS.split()
    with safe_open(cached_file(repo, "model.safetensors", **revision), "numpy") as weights:
        embeddings = weights.get_tensor("embeddings.word_embeddings.weight")
    assert embeddings.shape == (config.vocab_size, config.hidden_size)
    return config.mark


def custom_code(_kind, repo, revision):
    """By transformers, which copies the repo's own code below HF_HOME before it runs."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(repo, trust_remote_code=True, **revision).own_mark()


def tokenizers(_kind, repo, revision):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_pretrained(repo, **revision)
    assert tokenizer.encode(WORDS).tokens == WORDS.split()
    return "tokens"


def datasets(_kind, repo, revision):
    from datasets import load_dataset

    return load_dataset(repo, split="train", **revision)[0]["mark"]


def datasets_by_path(kind, repo, revision):
    from datasets import load_dataset
    from huggingface_hub import snapshot_download

    return load_dataset(snapshot_download(repo, repo_type=kind, **revision), split="train")[0]["mark"]


def main():
    # Read when the libraries are imported.
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    library, *words = sys.argv[1:]
    for kind, repo, revision in zip(*[iter(words)] * 3):
        try:
            print(globals()[library](kind, repo, {"revision": revision} if revision else {}))
        except Exception as error:
            print("cannot:", type(error).__name__)


if __name__ == "__main__":
    main()
