"""Makes folders with models as repos on the Hub have them, without the network: the same bytes in each run.

static-embedding  a working model of model2vec: tokenizer, safetensors, configuration
large             one safetensors file of the wanted size
llama-like        shards with an index, a tokenizer, sub-folders, a chat template
adapter           a LoRA of the first projection of acme/llama: it adds one to each of its numbers
encoder           a BERT of one layer: configuration, tokenizer, safetensors
"""

import argparse
import fcntl
import hashlib
import json
import shutil
import struct
from pathlib import Path

import numpy
from safetensors.numpy import save_file

WORDS = """a an and are as at be by can do each every file fills for from has have how in is it its load loads model
models no not of on once one or pod pods read reads it that the their then there this to token volume what when where
which who will with work works you your""".split()
DIMENSIONS = 64
MIB = 1 << 20


def static_embedding(folder: Path, _size: int):
    from model2vec import StaticModel
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", ".", ",", *letters, *(f"##{letter}" for letter in letters), *sorted(set(WORDS) - {"a"})]
    tokenizer = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    vectors = numpy.random.default_rng(7).standard_normal((len(pieces), DIMENSIONS), dtype=numpy.float32)
    model = StaticModel(vectors, tokenizer, config={"model_type": "model2vec"}, normalize=True)
    model.save_pretrained(folder, model_name="static-embedding")


def large(folder: Path, size: int):
    """Written piece by piece: the tensor never is in memory as a whole."""
    rows = size // 2048
    tensor = {"dtype": "F16", "shape": [rows, 1024], "data_offsets": [0, rows * 2048]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weight": tensor}).encode()
    header += b" " * (-len(header) % 8)
    random = numpy.random.default_rng(11)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        left = rows * 2048
        while left:
            piece = random.bytes(min(left, 8 * MIB))
            file.write(piece)
            left -= len(piece)
    text(folder / "config.json", json.dumps({"model_type": "large", "hidden_size": 1024}, indent=2))
    text(folder / "README.md", "---\nlicense: apache-2.0\n---\n# Large\n")


def llama_like(folder: Path, _size: int):
    from tokenizers import Tokenizer, models, pre_tokenizers

    random = numpy.random.default_rng(13)
    names = [f"model.layers.{layer}.{part}.weight" for layer in range(4) for part in ("self_attn.q_proj", "mlp.up_proj")]
    shards = {f"model-{at + 1:05}-of-00002.safetensors": names[at * 4 : at * 4 + 4] for at in range(2)}
    for file, tensors in shards.items():
        weights = {name: random.standard_normal((128, 256), dtype=numpy.float32) for name in tensors}
        save_file(weights, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": len(names) * 128 * 256 * 4},
        "weight_map": {name: file for file, tensors in shards.items() for name in tensors},
    }
    text(folder / "model.safetensors.index.json", json.dumps(index, indent=2, sort_keys=True))
    text(folder / "config.json", json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, indent=2))
    text(folder / "generation_config.json", json.dumps({"temperature": 0.6, "top_p": 0.9}, indent=2))
    text(folder / "tokenizer_config.json", json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2))
    words = {word: at for at, word in enumerate(["<unk>", *sorted(set(WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    text(folder / "chat_template.jinja", template)
    text(folder / "original/params.json", json.dumps({"dim": 256, "n_layers": 4}))
    (folder / "original/consolidated.00.pth").write_bytes(random.bytes(256 * 1024))
    text(folder / "LICENSE", "A licence that somebody has to accept.\n")
    text(folder / "USE_POLICY.md", "# Use policy\n")
    text(folder / "README.md", "---\nlicense: llama3.1\nextra_gated_prompt: terms\n---\n# Llama-like\n")
    text(folder / ".gitattributes", "*.safetensors filter=lfs diff=lfs merge=lfs -text\n")


def adapter(folder: Path, _size: int):
    rank = 4
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = {
        f"{layer}.lora_A.weight": numpy.full((rank, 256), 1 / (2 * rank), dtype=numpy.float32),
        f"{layer}.lora_B.weight": numpy.ones((128, rank), dtype=numpy.float32),
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"base_model_name_or_path": "acme/llama", "peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}
    text(folder / "adapter_config.json", json.dumps(config, indent=2))


def encoder(folder: Path, _size: int):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(WORDS))])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    text(folder / "tokenizer_config.json", json.dumps({"tokenizer_class": "BertTokenizer"}, indent=2))
    width, inner, longest = 8, 16, 32
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": longest,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    text(folder / "config.json", json.dumps(config, indent=2))
    shapes = {
        "embeddings.word_embeddings": (len(words), width),
        "embeddings.position_embeddings": (longest, width),
        "embeddings.token_type_embeddings": (2, width),
        **{f"encoder.layer.0.attention.self.{part}": (width, width) for part in ("query", "key", "value")},
        "encoder.layer.0.attention.output.dense": (width, width),
        "encoder.layer.0.intermediate.dense": (inner, width),
        "encoder.layer.0.output.dense": (width, inner),
        "pooler.dense": (width, width),
    }
    norms = ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"]
    random = numpy.random.default_rng(17)
    weights = {f"{name}.weight": random.standard_normal(shape, dtype=numpy.float32) for name, shape in shapes.items()}
    weights |= {f"{name}.LayerNorm.weight": numpy.ones(width, dtype=numpy.float32) for name in norms}
    biases = {name: shape[0] for name, shape in shapes.items() if not name.startswith("embeddings.")}
    biases |= {f"{name}.LayerNorm": width for name in norms}
    weights |= {f"{name}.bias": numpy.zeros(size, dtype=numpy.float32) for name, size in biases.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def text(path: Path, content: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def make(name: str, build, out: Path, size: int):
    folder, stamp = out / name, out / f".{name}.made"
    made_by = hashlib.sha256(Path(__file__).read_bytes() + str(size).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != made_by:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        build(folder, size)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        stamp.write_text(made_by)
    print(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {
        "static-embedding": static_embedding,
        "large": large,
        "llama-like": llama_like,
        "adapter": adapter,
        "encoder": encoder,
    }
    parser.add_argument("out", type=Path, help="the folder that gets one sub-folder for each")
    parser.add_argument("--only", choices=kinds, action="append", help="not all of them")
    parser.add_argument("--size", type=int, default=300, metavar="MIB", help="of the large one; 300 by default")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / ".lock").open("w") as lock:
        # Tests start side by side: one makes, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in args.only or kinds:
            make(name, kinds[name], args.out, args.size * MIB if name == "large" else 0)


if __name__ == "__main__":
    main()
