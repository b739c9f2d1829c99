"""Train the demo checkpoint: a small MobileBERT that names the intent of a CLINC150 query.

    python reference_model/train_demo.py --data ../shared/data

It writes ``mobilebert_reference/demo/``: the checkpoint, its model card, and rows for calibration and evaluation.
Training is from scratch, on nothing but the train split; the validation split chooses the epoch, and the test split is
looked at once, with the weights as they are stored. The same seed, number of threads, kind of processor and versions of
PyTorch and tokenizers give the same bytes, but for the minutes in the model card.

Data: Larson et al. 2019, "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction", CC BY 3.0.
"""

import argparse
import copy
import json
import math
import platform
import random
import shutil
import string
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import torch.nn.functional as F
from mobilebert_reference import (
    MobileBertConfig,
    MobileBertForSequenceClassification,
    Tokenizer,
    load_checkpoint,
    save_checkpoint,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

DEMO = Path(__file__).parent / "mobilebert_reference" / "demo"
CARD = Path(__file__).parent / "demo_card.md"

# The model
PIECES = 3000
MAX_LENGTH = 64  # tokens; the longest query has 40, so nothing is cut off
ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 256,
    "embedding_size": 128,
    "intra_bottleneck_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_feedforward_networks": 3,
    "max_position_embeddings": 128,
    "hidden_dropout_prob": 0.15,
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": 0.3,
    "initializer_range": 0.05,
}
UNKNOWN, FIRST_WORD = 1, 5  # [UNK], and the first id after the special tokens

# The training
EPOCHS = 24
BATCH = 64
POOL = 20 * BATCH  # rows that are sorted by length together
LEARNING_RATE = 1.5e-3
WARM_UP = 300  # steps; without true norms nothing else tames the first ones
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
WORD_DROPOUT = 0.2  # chance of a token to become [UNK]
AVERAGING = 0.998  # decay of the moving average of the weights, which is what is kept
LARGEST_GRADIENT = 1.0

# The rows that ship, for each of the 150 intents
CALIBRATION_ROWS = 2
EVALUATION_ROWS = 4


@dataclass(frozen=True)
class Row:
    """A query and its intent."""

    text: str
    label: str

    @property
    def key(self) -> str:
        """The text up to case and white space: rows with the same key are the same query."""
        return " ".join(self.text.casefold().split())


@dataclass(frozen=True)
class Split:
    """Rows as the model sees them.

    Attributes:
        rows: Ids of each row, without padding.
        classes: Class id of each row.
    """

    rows: list[tuple[int, ...]]
    classes: list[int]


def read_rows(path: Path) -> list[Row]:
    """Read a split: one JSON object a line."""
    with path.open(encoding="utf-8") as lines:
        return [Row(**json.loads(line)) for line in lines]


def train_vocabulary(texts: list[str]) -> list[str]:
    """Learn the pieces of WordPiece from texts; printable ASCII is always among them."""
    word_characters = string.ascii_lowercase + string.digits
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=PIECES,
        # The library numbers inner characters as its hash table has them, and breaks ties by that: fix their order.
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##{each}" for each in word_characters)],
        initial_alphabet=list(word_characters + string.punctuation),
        show_progress=False,
    )
    learner = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - no password
    learner.normalizer = tokenizers.normalizers.BertNormalizer()
    learner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    learner.train_from_iterator(texts, trainer)
    vocabulary = learner.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def choose_rows(rows: list[Row], per_label: int, seed: int, *, apart_from: list[Row]) -> list[Row]:
    """Choose as many rows of each intent, none of them twice or in `apart_from`; they come in rounds of one of each."""
    taken = {row.key for row in apart_from}
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.key not in taken:
            taken.add(row.key)
            by_label[row.label].append(row)
    chooser = random.Random(seed)  # noqa: S311 - nothing secret
    rounds = zip(*(chooser.sample(by_label[label], per_label) for label in sorted(by_label)), strict=True)
    return [row for one_of_each in rounds for row in chooser.sample(one_of_each, len(one_of_each))]


def encode(rows: list[Row], tokenizer: Tokenizer, label2id: dict[str, int]) -> Split:
    """Tokenize rows."""
    return Split(
        rows=[tokenizer.encode(row.text, max_length=MAX_LENGTH, pad=False).input_ids for row in rows],
        classes=[label2id[row.label] for row in rows],
    )


def groups_of(split: Split, size: int, pool: int, order: list[int]) -> list[list[int]]:
    """Cut `order` into pools, and each pool, sorted by length, into groups of about equally long rows."""
    pools = [sorted(order[i : i + pool], key=lambda row: len(split.rows[row])) for i in range(0, len(order), pool)]
    return [rows[i : i + size] for rows in pools for i in range(0, len(rows), size)]


def batches(split: Split, groups: list[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give ids (B, T), mask (B, T) and classes (B) of each group, padded to its longest row."""
    for group in groups:
        ids = pad_sequence([torch.tensor(split.rows[row]) for row in group], batch_first=True)  # [PAD] is 0
        yield ids, (ids != 0).long(), torch.tensor([split.classes[row] for row in group])


@torch.no_grad()
def count_correct(model: nn.Module, split: Split) -> int:
    """Count the rows whose intent the model names."""
    model.eval()
    number = len(split.rows)
    scored = batches(split, groups_of(split, 100, number, list(range(number))))
    return sum(int((model(ids, mask).logits.argmax(dim=1) == classes).sum()) for ids, mask, classes in scored)


def train(config: MobileBertConfig, training: Split, validation: Split) -> MobileBertForSequenceClassification:
    """Train a model from scratch and give the moving average of its weights after the best epoch on `validation`."""
    model = MobileBertForSequenceClassification(config)
    average = copy.deepcopy(model)
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    rows = len(training.rows)
    steps = EPOCHS * len(groups_of(training, BATCH, POOL, list(range(rows))))
    step, best, best_weights = 0, -1, {}
    for epoch in range(EPOCHS):
        model.train()
        order = groups_of(training, BATCH, POOL, torch.randperm(rows).tolist())
        for ids, mask, classes in batches(training, [order[i] for i in torch.randperm(len(order)).tolist()]):
            for group in optimizer.param_groups:
                group["lr"] = (
                    LEARNING_RATE * min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
                )
            dropped = (torch.rand(ids.shape) < WORD_DROPOUT) & (ids >= FIRST_WORD)
            logits = model(ids.masked_fill(dropped, UNKNOWN), mask).logits
            loss = F.cross_entropy(logits, classes, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            step += 1
            with torch.no_grad():
                for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                    mean.lerp_(parameter, 1 - min(AVERAGING, step / (step + 9)))
        correct = count_correct(average, validation)
        print(f"epoch {epoch + 1:2}/{EPOCHS}  validation {correct / len(validation.rows):.2%}", flush=True)
        if correct > best:
            best, best_weights = correct, copy.deepcopy(average.state_dict())
    average.load_state_dict(best_weights)
    return average.eval()


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as they came: one JSON object a line."""
    lines = [json.dumps({"text": row.text, "label": row.label}, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Train, write, and score what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with clinc150_train.jsonl, _val and _test")
    parser.add_argument("--output", type=Path, default=DEMO, help="folder to write (default: the package's demo)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(mode=True)

    began = time.perf_counter()
    rows = {name: read_rows(arguments.data / f"clinc150_{name}.jsonl") for name in ("train", "val", "test")}
    with tempfile.TemporaryDirectory() as directory:
        vocabulary = Path(directory) / "vocab.txt"
        vocabulary.write_text("\n".join(train_vocabulary([row.text for row in rows["train"]])), encoding="utf-8")
        tokenizer = Tokenizer.from_vocabulary(vocabulary)
    labels = sorted({row.label for row in rows["train"]})
    config = MobileBertConfig(
        vocab_size=tokenizer.vocabulary_size,
        id2label=dict(enumerate(labels)),
        problem_type="single_label_classification",
        **ARCHITECTURE,
    )
    splits = {name: encode(each, tokenizer, config.label2id) for name, each in rows.items()}
    model = train(config, splits["train"], splits["val"])
    seconds = time.perf_counter() - began

    evaluation = choose_rows(rows["test"], EVALUATION_ROWS, arguments.seed, apart_from=rows["train"])
    calibration = choose_rows(rows["train"], CALIBRATION_ROWS, arguments.seed, apart_from=rows["test"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(arguments.output / "checkpoint", ignore_errors=True)
    save_checkpoint(model.half(), tokenizer, arguments.output / "checkpoint")
    write_rows(arguments.output / "calibration.jsonl", calibration)
    write_rows(arguments.output / "evaluation.jsonl", evaluation)

    stored = load_checkpoint(arguments.output / "checkpoint").model  # the weights as float16 has them
    splits["evaluation.jsonl"] = encode(evaluation, tokenizer, config.label2id)
    scores = {name: (count_correct(stored, split), len(split.rows)) for name, split in splits.items()}
    card = CARD.read_text(encoding="utf-8").format(
        scores="\n".join(
            f"| {name} | {right:,} of {of:,} | {right / of:.2%} |" for name, (right, of) in scores.items()
        ),
        parameters=sum(parameter.numel() for parameter in stored.parameters()) / 1e6,
        minutes=seconds / 60,
        seed=arguments.seed,
        threads=arguments.threads,
        machine=platform.machine(),
        torch=torch.__version__,
        tokenizers=tokenizers.__version__,
        pieces=config.vocab_size,
        longest=max(map(len, splits["train"].rows)),
        calibration=len(calibration),
        evaluation=len(evaluation),
        **ARCHITECTURE,
    )
    (arguments.output / "README.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
