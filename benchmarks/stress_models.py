"""Function-preserving stress: a trained model made hard to quantize, with the same answers in float64.

A mildly trained model quantizes easily, and one that does not is worth nothing without its right answers. So trained
weights are transformed: what the model computes stays, what lies in between becomes what int8 cannot bear. The command
writes such a model only if the logits prove that its function is unchanged.

Everything rests on MobileBERT's residual streams: nothing non-linear acts on them, and a norm, y = g∘x + b, is affine.
The wide stream, (…, hidden_size), runs through the whole model; each layer has a narrow one of intra_bottleneck_size.
"""

import copy
import enum
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
import typer
from full_size import SHARED, TRAINED, CheckpointArgument, load
from mobilebert_reference import (
    MobileBertConfig,
    MobileBertForSequenceClassification,
    ReferenceModelError,
    Tokenizer,
    save_checkpoint,
)
from torch import Tensor, nn

TEXTS = SHARED / "data" / "clinc150_test.jsonl"
SEQUENCE_LENGTH = 64
LARGEST_DIFFERENCE = 1e-9

# As in every published MobileBERT.
_SUPPORTED = {
    "hidden_act": "relu",
    "normalization_type": "no_norm",
    "use_bottleneck": True,
    "use_bottleneck_attention": False,
    "key_query_shared_bottleneck": True,
}
_OUTLIERS = 6
_OUTLIER_SCALE = 50.0
_SPREAD = 4.0
_ALTERED_SHARE = 1 / 16  # of the channels: those whose gain becomes tiny or zero
_BATCH = 32

Model: TypeAlias = MobileBertForSequenceClassification
Block: TypeAlias = Any  # a module below the encoder, such as a DenseNorm: nn.Module does not tell its children's types
Draw: TypeAlias = Callable[[int], Tensor]
Inputs: TypeAlias = Mapping[str, Tensor]


class Kind(str, enum.Enum):
    """The ways to stress a model."""

    SCRAMBLE = "scramble"
    MASSIVE = "massive"
    BOTH = "both"
    NEAR_ZERO_GAINS = "near-zero-gains"
    ZERO_GAINS = "zero-gains"


@dataclass(frozen=True, eq=False)
class Stress:
    """A stressed model and its proof.

    Attributes:
        stressed: the hard model.
        equal: the easy model with the same function. For `scramble` and `near_zero_gains` it is the given model; the
            others change the function a little before they stress it.
    """

    stressed: Model
    equal: Model


def stress(model: Model, kind: Kind, *, magnitude: float, seed: int) -> Stress:
    """Stresses a model in float64; `magnitude` is that of `massive_first_token`.

    Raises:
        ValueError: the model is not one with NoNorm, ReLU, and a bottleneck that query and key share.
    """
    match kind:
        case Kind.SCRAMBLE:
            return Stress(scramble(model, seed), _copy(model))
        case Kind.MASSIVE:
            return Stress(massive_first_token(model, magnitude, seed), massive_first_token(model, 0.0, seed))
        case Kind.BOTH:
            massive, equal = (massive_first_token(model, each, seed) for each in (magnitude, 0.0))
            return Stress(scramble(massive, seed), equal)
        case Kind.NEAR_ZERO_GAINS:
            return Stress(near_zero_gains(model, seed), _copy(model))
        case Kind.ZERO_GAINS:
            return Stress(zero_gains(model, seed), constant_channels(model, seed))


def scramble(model: Model, seed: int) -> Model:
    """A random scale for every channel: of the streams, the shared bottleneck, values, queries and keys, ReLU units.

    A scale is log-uniform from 1/4 to 4, and 50 times that in six channels of each tensor. Each norm leaves its stream
    in fresh scales, so a gain takes the ratio of two: 1/800 to 800 times what it was.
    """
    generator = _generator(seed)

    def spread(width: int) -> Tensor:
        scale = _SPREAD ** (2 * torch.rand(width, generator=generator, dtype=torch.float64) - 1)
        scale[torch.randperm(width, generator=generator)[:_OUTLIERS]] *= _OUTLIER_SCALE
        return scale

    return _rescaled(model, streams=spread, units=spread)


def near_zero_gains(model: Model, seed: int) -> Model:
    """Gains of 1e-3 to 1e-7 of what they were, in one of 16 channels of every norm.

    What such a norm takes away, whoever reads the channel puts back: the weights' columns, and the gain of the stream's
    next norm, which becomes as large as this one is small.
    """
    generator = _generator(seed)

    def mostly_one(width: int) -> Tensor:
        scale = torch.ones(width, dtype=torch.float64)
        chosen = _some(width, generator)
        scale[chosen] = 10 ** (-3 - 4 * torch.rand(len(chosen), generator=generator, dtype=torch.float64))
        return scale

    return _rescaled(model, streams=mostly_one, units=lambda width: torch.ones(width, dtype=torch.float64))


@torch.no_grad()
def massive_first_token(model: Model, magnitude: float, seed: int) -> Model:
    """The first token `magnitude` times the others in every channel of the wide stream, where nothing reads it.

    A random dense direction u, normal with unit variance, is followed through the gains, u ← g∘u at the embeddings'
    norm and at each layer's last, and projected out of whatever reads the stream: W ← W - W u uᵀ / uᵀu. Then
    `magnitude` times u is added to the embedding of position 0, and only the residual carries it. The projection
    changes the function: the model to compare with is that of magnitude 0 and the same seed.

    The weights need float64. Rounded to float32 they let some of the direction through, `magnitude` times 1e-7 of it:
    at a magnitude of 1e6 the logits move by some per cent.
    """
    stressed = _copy(model)
    embeddings: Block = stressed.mobilebert.embeddings
    direction = torch.randn(model.config.hidden_size, generator=_generator(seed), dtype=torch.float64)
    embeddings.position_embeddings.weight[0] += magnitude * direction
    direction = direction * embeddings.LayerNorm.weight
    for layer in _layers(stressed):
        for reader in _readers(layer):
            _project_out(reader, direction)
        direction = direction * layer.output.bottleneck.LayerNorm.weight
    _project_out(_head(stressed), direction)
    return stressed


@torch.no_grad()
def zero_gains(model: Model, seed: int) -> Model:
    """Gains of exactly 0 over live channels, in one of 16 channels of two norms of each layer.

    They are the norm of the shared bottleneck, and the one behind the sum of the narrow stream and the attention's
    output. A gain of 0 makes a channel constant, whatever comes in, and no weight behind it can bring the lost content
    back: where all channels are used, as in a trained model, its function cannot be kept. What can be kept exactly is
    that of `constant_channels`: the bias takes over the constant that the channel has there.
    """
    stressed = _copy(model)
    generator = _generator(seed)
    for layer in _layers(stressed):
        for norm, writers in _first_blocks(layer):
            chosen = _some(len(norm.weight), generator)
            norm.bias[chosen] = _constant(writers)[chosen]
            norm.weight[chosen] = 0.0
    return stressed


@torch.no_grad()
def constant_channels(model: Model, seed: int) -> Model:
    """The model whose function `zero_gains` keeps: only biases are written to the channels, their gains are whole."""
    pruned = _copy(model)
    generator = _generator(seed)
    for layer in _layers(pruned):
        for norm, writers in _first_blocks(layer):
            chosen = _some(len(norm.weight), generator)
            for writer in writers:
                writer.dense.weight[chosen] = 0.0
    return pruned


def difference(given: Tensor, expected: Tensor) -> float:
    """The largest difference of logits in a row, relative to the row's largest logit; the worst row's."""
    return float(((given - expected).abs().amax(dim=1) / expected.abs().amax(dim=1)).max())


def rounded_to_float32(model: Model) -> Model:
    """The model whose weights have been float32; the arithmetic stays float64."""
    return copy.deepcopy(model).float().double()


@torch.no_grad()
def first_token_ratios(model: Model, inputs: Inputs) -> list[float]:
    """How many times larger the first token is than the others, by root mean square: embeddings, then every layer."""
    states = model.mobilebert(**inputs, output_hidden_states=True).hidden_states
    others = inputs["attention_mask"].bool()
    others[:, 0] = False
    return [float((state[:, 0].square().mean() / state[others].square().mean()).sqrt()) for state in states]


def gains(model: Model) -> Tensor:
    """The absolute values of all gains of the model, in one row."""
    named = model.named_parameters()
    return torch.cat([parameter.detach().abs() for name, parameter in named if name.endswith("LayerNorm.weight")])


def unchanged(made: Stress, tokenizer: Tokenizer, *, texts: int) -> float:
    """The largest relative difference of the logits in float64 to the model of equal function."""
    inputs = _inputs(tokenizer, texts, made.equal.config)
    return difference(_logits(made.stressed, inputs), _logits(made.equal, inputs))


def main(
    output: Annotated[Path, typer.Option(help="Directory to write, new or empty.")],
    kind: Annotated[Kind, typer.Option(help="What to do to the model.")],
    checkpoint: CheckpointArgument = TRAINED,
    magnitude: Annotated[float, typer.Option(min=0, help="Of the first token, for massive and both.")] = 1e4,
    seed: Annotated[int, typer.Option(min=0, help="Of the random scales and directions.")] = 0,
    texts: Annotated[int, typer.Option(min=1, help="CLINC150 test texts to prove it on.")] = 64,
) -> None:
    """Write a stressed checkpoint whose function is proven unchanged."""
    if not TEXTS.is_file():
        raise typer.BadParameter(f"{TEXTS}: expected the CLINC150 test split, found none")
    try:
        loaded = load(checkpoint, None)
        if not isinstance(loaded.model, MobileBertForSequenceClassification):
            raise typer.BadParameter(f"expected a sequence classifier, got a {type(loaded.model).__name__}")
        made = stress(loaded.model, kind, magnitude=magnitude, seed=seed)
    except (ReferenceModelError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    inputs = _inputs(loaded.tokenizer, texts, loaded.config)
    expected = _logits(made.equal, inputs)
    measured = difference(_logits(made.stressed, inputs), expected)
    in_float32 = difference(_logits(rounded_to_float32(made.stressed), inputs), expected)
    from_given = difference(expected, _logits(_copy(loaded.model), inputs))
    ratios = first_token_ratios(made.stressed, inputs)
    present = gains(made.stressed)
    typer.echo(f"{kind.value} of {checkpoint}, seed {seed}")
    typer.echo(f"logits of {texts} texts in float64, largest relative difference")
    typer.echo(f"  to the model of equal function    {measured:.1e} (at most {LARGEST_DIFFERENCE:.0e})")
    typer.echo(f"  the same, weights through float32 {in_float32:.1e}")
    typer.echo(f"  of that model to the given one    {from_given:.1e}")
    typer.echo(f"gains, absolute                     {present.min():.1e} to {present.max():.1e}")
    typer.echo(f"first token over the others         {min(ratios):.1e} to {max(ratios):.1e}")
    if not measured <= LARGEST_DIFFERENCE:
        typer.echo("Error: the function has changed; nothing written", err=True)
        raise typer.Exit(1)
    try:
        # In float64 whatever the kind: only so are the weights those of the proof.
        save_checkpoint(made.stressed, loaded.tokenizer, output)
    except ReferenceModelError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"written to {output}, float64")


@torch.no_grad()
def _rescaled(model: Model, *, streams: Draw, units: Draw) -> Model:
    """Gives every channel a scale and takes it back where the channel is read.

    Args:
        model: what to copy and change.
        streams: draws the scales of a width: of a stream behind a norm, and of the shared bottleneck.
        units: draws them for values, queries with keys, and ReLU units.
    """
    rescaled = _copy(model)
    wide = streams(model.config.hidden_size)
    _scale_norm(rescaled.mobilebert.embeddings.LayerNorm, wide)
    for layer in _layers(rescaled):
        attention = layer.attention.self
        for reader in _readers(layer):
            reader.weight /= wide
        shared = streams(model.config.intra_bottleneck_size)
        _scale_norm(layer.bottleneck.attention.LayerNorm, shared)
        attention.query.weight /= shared
        attention.key.weight /= shared
        products = units(len(attention.query.bias))
        _scale_outputs(attention.query, products)
        _scale_outputs(attention.key, 1 / products)
        values = units(len(attention.value.bias))
        _scale_outputs(attention.value, values)
        layer.attention.output.dense.weight /= values

        narrow = streams(model.config.intra_bottleneck_size)
        _scale_norm(layer.bottleneck.input.LayerNorm, narrow)
        narrow = _scale_sum(layer.attention.output, narrow, streams)
        for intermediate, output in _feed_forwards(layer):
            intermediate.dense.weight /= narrow
            hidden = units(model.config.intermediate_size)
            _scale_outputs(intermediate.dense, hidden)
            output.dense.weight /= hidden
            narrow = _scale_sum(output, narrow, streams)
        layer.output.bottleneck.dense.weight /= narrow
        wide = _scale_sum(layer.output.bottleneck, wide, streams)
    _head(rescaled).weight /= wide
    return rescaled


def _scale_sum(block: Block, before: Tensor, draw: Draw) -> Tensor:
    """Scales a residual sum's branch as its residual is, and the norm's output anew; gives the new scale."""
    after = draw(len(before))
    _scale_outputs(block.dense, before)
    _scale_norm(block.LayerNorm, after, before)
    return after


def _scale_norm(norm: Block, after: Tensor, before: Tensor | float = 1.0) -> None:
    norm.weight *= after / before
    norm.bias *= after


def _scale_outputs(linear: nn.Linear, scale: Tensor) -> None:
    linear.weight.mul_(scale[:, None])
    linear.bias.mul_(scale)


def _project_out(linear: nn.Linear, direction: Tensor) -> None:
    unit = direction / direction.norm()
    linear.weight.sub_(torch.outer(linear.weight @ unit, unit))


def _constant(writers: list[Block]) -> Tensor:
    """What a chain of blocks, each the next one's residual, gives when only the biases come in."""
    constant = torch.zeros(())
    for writer in writers:
        constant = writer.LayerNorm(writer.dense.bias + constant)
    return constant


def _first_blocks(layer: Block) -> Iterator[tuple[Block, list[Block]]]:
    """The first norms of a layer whose channels a Linear reads, each with the blocks that write to them so far."""
    for writers in ([layer.bottleneck.attention], [layer.bottleneck.input, layer.attention.output]):
        yield writers[-1].LayerNorm, writers


def _readers(layer: Block) -> tuple[nn.Linear, ...]:
    """What reads the wide stream."""
    return layer.bottleneck.input.dense, layer.bottleneck.attention.dense, layer.attention.self.value


def _feed_forwards(layer: Block) -> Iterator[tuple[Block, Block]]:
    for each in layer.ffn:
        yield each.intermediate, each.output
    yield layer.intermediate, layer.output


def _layers(model: Model) -> list[Block]:
    return list(model.mobilebert.encoder.layer)


def _head(model: Model) -> nn.Linear:
    """What reads the wide stream behind the last layer."""
    pooler: Block = model.mobilebert.pooler
    head: nn.Linear = pooler.dense if model.config.classifier_activation else model.classifier
    return head


def _some(width: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(width, generator=generator)[: max(1, round(width * _ALTERED_SHARE))]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _copy(model: Model) -> Model:
    """A float64 copy of a model that can be stressed."""
    for field, supported in _SUPPORTED.items():
        if getattr(model.config, field) != supported:
            raise ValueError(f"expected a model with {field} {supported!r}, got {getattr(model.config, field)!r}")
    return copy.deepcopy(model).double().eval()


def _inputs(tokenizer: Tokenizer, count: int, config: MobileBertConfig) -> dict[str, Tensor]:
    """Rows of real text, padded to the longest."""
    lines = TEXTS.read_text(encoding="utf-8").splitlines()
    chosen = np.linspace(0, len(lines) - 1, count).astype(int)  # over the whole file: an intent's texts stand together
    texts = (json.loads(lines[index])["text"] for index in chosen)
    batch = tokenizer.encode_batch(texts, max_length=min(SEQUENCE_LENGTH, config.max_position_embeddings))
    longest = batch["attention_mask"].sum(axis=1).max()
    return {name: torch.from_numpy(values[:, :longest]).long() for name, values in batch.items()}


@torch.no_grad()
def _logits(model: Model, inputs: Inputs) -> Tensor:
    rows = len(inputs["input_ids"])
    parts = [{name: tensor[i : i + _BATCH] for name, tensor in inputs.items()} for i in range(0, rows, _BATCH)]
    return torch.cat([model(**part).logits for part in parts])


if __name__ == "__main__":
    typer.run(main)
