"""Every pre-training objective against its formula in float64, written out from the published descriptions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from simlm.config.kinds.bottleneck import BagOfWords
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions
from simlm.training.masking import hidden_places
from tests.training.test_bottleneck_model import MASK, batch, bert

MASKED = {"encoder_corruption": "masked", "encoder_objective": "restore_masked"}
BOW = BagOfWords(weight=1.0, final_weight=0.1)
DUPMAE = BagOfWords(weight=0.1, final_weight=0.1, read="tokens", share="token")
OBJECTIVES = {
    "simlm": {},
    "encoder-decoder mlm": {**MASKED, "decoder_corruption": "masked", "decoder_objective": "restore_masked"},
    "encoder-decoder rtd": {"encoder_objective": "detect", "decoder_objective": "detect"},
    "condenser": {**MASKED, "decoder": "condenser", "decoder_init": "fresh", "decoder_objective": "restore_masked", "early_layer": 1},
    "mlm": {**MASKED, "decoder": "none"},
    "mlm, masked as in BERT": {**MASKED, "decoder": "none", "mask_tokens": "80-10-10"},
    "auto-encoder": {"encoder_corruption": "clean", "encoder_objective": "none", "decoder_corruption": "masked"},
    "bag of words": {**MASKED, "decoder": "none", "bag_of_words": BOW},
    "retromae": {**MASKED, "decoder": "retromae", "decoder_layers": 1, "decoder_init": "fresh"},
    "dupmae": {**MASKED, "decoder": "retromae", "decoder_layers": 1, "decoder_init": "fresh", "bag_of_words": DUPMAE},
    "replaced encoder, masked decoder": {"decoder_corruption": "masked", "decoder_objective": "restore_masked"},
    "masked encoder, replaced decoder": {**MASKED, "decoder_objective": "detect"},
}
GENERATES = [name for name in OBJECTIVES if name in ("simlm", "encoder-decoder rtd") or name.startswith(("replaced", "masked"))]
LENGTHS = torch.tensor([12, 9, 12, 12])


def inputs_of(settings: dict) -> dict:
    """A batch as the collator would make it for these settings."""
    inputs = batch()
    inputs["content"] = inputs["attention_mask"].bool() & (torch.arange(12) > 0)
    inputs["tokens"][2, 3] = inputs["tokens"][2, 7]  # a word that occurs twice counts once in a bag
    if settings.get("encoder_corruption") == "clean":
        inputs["encoder_masked"] = torch.zeros_like(inputs["encoder_masked"])
        inputs["decoder_masked"] = inputs["content"].clone()
    if settings.get("decoder") == "condenser":
        inputs["decoder_masked"] = inputs["encoder_masked"]
    words = np.where(inputs["content"], np.arange(12), 0) - 1
    inputs["hidden_from"] = torch.from_numpy(hidden_places(words, LENGTHS.numpy(), 0.5, np.random.default_rng(3).random((4, 12, 12))))
    return inputs


def attend(layer: nn.Module, queries: torch.Tensor, text: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """A BERT layer whose queries are others than its keys, head by head and position by position."""
    attention, width = layer.attention.self, queries.shape[-1]
    context = torch.zeros_like(queries)
    size = width // attention.num_attention_heads
    for head in range(attention.num_attention_heads):
        part = slice(head * size, (head + 1) * size)
        query, key, value = (project(states)[..., part] for project, states in ((attention.query, queries), (attention.key, text), (attention.value, text)))
        for row in range(len(text)):
            for place in range(text.shape[1]):
                seen = visible[row, place].nonzero()[:, 0]
                shares = torch.softmax(key[row, seen] @ query[row, place] / math.sqrt(size), 0)
                context[row, place, part] = shares @ value[row, seen]
    after = layer.attention.output.LayerNorm(layer.attention.output.dense(context) + queries)
    return layer.output.LayerNorm(layer.output.dense(nn.functional.gelu(layer.intermediate.dense(after))) + after)


def expected(model: BottleneckModel, inputs: dict, settings: dict, progress: float) -> torch.Tensor:
    """The published loss."""
    tokens, types, attention = inputs["tokens"], inputs["token_types"], inputs["attention_mask"]
    head = model.encoder.cls.predictions

    def corrupted(side: str) -> torch.Tensor:
        how, masked, draws = settings.get(f"{side}_corruption", "replaced"), inputs[f"{side}_masked"], inputs["draws"][int(side == "decoder")]
        if how == "clean":
            return tokens
        filled = torch.where(masked, MASK, tokens)
        if how == "masked" and "mask_tokens" in settings:
            chance = ((draws - 0.8) * 10 * model.encoder.config.vocab_size).long()
            filled = torch.where(draws < 0.8, MASK, torch.where(draws < 0.9, chance, tokens))
            return torch.where(masked, filled, tokens)
        if how == "masked":
            return filled
        with torch.no_grad():
            logits = model.generator(input_ids=filled, token_type_ids=types, attention_mask=attention).logits
        return torch.where(masked, (torch.softmax(logits, -1).cumsum(-1) <= draws[..., None]).sum(-1), tokens)

    def loss(side: str, states: torch.Tensor, read: torch.Tensor | None) -> torch.Tensor:
        objective = settings.get(f"{side}_objective", "restore")
        everywhere = inputs["content"]
        if objective == "none":
            return torch.zeros((), dtype=torch.float64)
        if objective == "detect":
            detector = model.detectors[side]
            logits = detector.output(nn.functional.gelu(detector.dense(states)))[..., 0]
            sure = torch.where(read != tokens, logits, -logits)
            return -torch.log(torch.sigmoid(sure[everywhere])).mean()
        places = inputs[f"{side}_masked"] if objective == "restore_masked" else everywhere
        return -torch.log_softmax(head(states), -1).gather(2, tokens[..., None])[..., 0][places].mean()

    read = corrupted("encoder")
    output = model.body(input_ids=read, token_type_ids=types, attention_mask=attention, output_hidden_states=True)
    states, decoder = output.last_hidden_state, settings.get("decoder", "shallow")
    total = loss("encoder", states, read)
    blocked = (attention[:, None, None, :] == 0) * -1e9
    if decoder in ("shallow", "condenser"):
        own = corrupted("decoder") if decoder == "shallow" else None
        beside = model.body.embeddings(input_ids=own, token_type_ids=types) if decoder == "shallow" else output.hidden_states[1]
        state = torch.cat([states[:, :1], beside[:, 1:]], 1)
        for layer in model.decoder:
            state = layer(state, attention_mask=blocked)
        total = total + loss("decoder", state, own)
    if decoder == "retromae":
        text = torch.cat([states[:, :1], model.body.embeddings(input_ids=tokens, token_type_ids=types)[:, 1:]], 1)
        queries = states[:, :1] + model.body.embeddings.position_embeddings.weight[:12]
        visible = attention[:, None, :].bool() & ~inputs["hidden_from"] & ~torch.eye(12, dtype=torch.bool)
        visible[:, :, 0] = True
        total = total + loss("decoder", attend(model.decoder[0], queries, text, visible), None)
    if settings.get("bag_of_words") is DUPMAE:
        each = []
        for i, (row, kept) in enumerate(zip(tokens, inputs["content"])):
            logits = torch.stack([head(states[i, place]) for place in range(1, int(attention[i].sum()))]).amax(0)
            logged = torch.log_softmax(logits, -1)
            each.append(-sum(logged[word] for word in set(row[kept].tolist())) / int(kept.sum()))
        total = total + 0.1 * torch.stack(each).mean()
    elif "bag_of_words" in settings:
        logged = torch.log_softmax(head(states[:, 0]), -1)
        bags = [sorted(set(row[kept].tolist())) for row, kept in zip(tokens, inputs["content"])]
        weight = 0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2
        total = total + weight * torch.stack([-logged[i, bag].mean() for i, bag in enumerate(bags)]).mean()
    return total


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_and_gradients_are_the_published_ones(name: str) -> None:
    torch.manual_seed(0)
    settings, progress = OBJECTIVES[name], 0.3
    model = BottleneckModel(bert(), bert(layers=1, hidden=8) if name in GENERATES else None, BottleneckOptions(**settings)).double().eval()
    for part in (model.decoder, model.detectors):  # fresh layers are so small that every softmax would be flat
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.3)
    inputs = inputs_of(settings)
    ours, theirs = model(**inputs, progress=progress)["loss"], expected(model, inputs, settings, progress)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    mine, reference = (torch.autograd.grad(loss, list(parameters.values()), allow_unused=True) for loss in (ours, theirs))
    assert sum(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in reference) > 10
    for key, one, other in zip(parameters, mine, reference):
        one, other = (torch.zeros_like(parameters[key]) if gradient is None else gradient for gradient in (one, other))
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_add_up_to_the_batch(name: str) -> None:
    """The weights of the micro-batches make the mean over a step, whose parts have different numbers of labels."""
    from simlm.training.distributed import put_shares

    torch.manual_seed(0)
    settings = OBJECTIVES[name]
    model = BottleneckModel(bert(), bert(layers=1, hidden=8) if name in GENERATES else None, BottleneckOptions(**settings)).double().eval()
    whole = inputs_of(settings)
    pieces = []
    for rows in ([0, 1], [2, 3]):
        piece = {key: value[rows] for key, value in whole.items() if key not in ("labelled", "mask_id", "draws")}
        piece["labelled"] = piece["content"].reshape(-1).nonzero()[:, 0]
        places = [piece[f"{side}_masked"] if settings.get(f"{side}_objective") == "restore_masked" else piece["content"] for side in ("encoder", "decoder")]
        counts = [*(int(place.sum()) for place in places), int(piece["encoder_masked"].sum() + piece["decoder_masked"].sum()), len(rows)]
        pieces.append({**piece, "draws": whole["draws"][:, rows], "mask_id": MASK, "counts": torch.tensor(counts)})
    put_shares(pieces)
    total = sum(model(**piece)["loss"].item() for piece in pieces) / 2
    assert total == pytest.approx(model(**whole)["loss"].item(), rel=1e-6)


@pytest.mark.parametrize(("name", "trained"), [*((name, False) for name in OBJECTIVES), *((name, True) for name in GENERATES)])
def test_nothing_masked_is_a_loss_of_zero(name: str, trained: bool) -> None:
    settings = OBJECTIVES[name]
    torch.manual_seed(0)
    model = BottleneckModel(bert(), bert(layers=1) if name in GENERATES else None, BottleneckOptions(**settings, train_generator=trained))
    inputs = inputs_of(settings)
    none = torch.zeros_like(inputs["encoder_masked"])
    inputs |= {"encoder_masked": none, "decoder_masked": none, "content": none, "labelled": torch.zeros(0, dtype=torch.int64)}
    outputs = model(**inputs)
    assert outputs["loss"].item() == 0.0
    outputs["loss"].backward()
    assert all(parameter.grad is None or bool(torch.isfinite(parameter.grad).all()) for parameter in model.parameters())


def test_a_generator_is_asked_for_the_replaced_side_only() -> None:
    """Its samples of one side are those it would give for both."""
    torch.manual_seed(0)
    both = BottleneckModel(bert(), bert(layers=1), BottleneckOptions()).eval()
    one = BottleneckModel(both.encoder, both.generator, BottleneckOptions(**MASKED)).eval()
    inputs = batch()
    masks = {side: inputs[f"{side}_masked"] for side in ("encoder", "decoder")}
    arguments = (inputs["tokens"], inputs["token_types"], inputs["attention_mask"], masks, inputs["draws"], MASK)
    read, _ = both._corrupt(*arguments)
    other, _ = one._corrupt(*arguments)
    assert torch.equal(read["decoder"], other["decoder"])
    assert torch.equal(other["encoder"], torch.where(masks["encoder"], MASK, inputs["tokens"]))


def test_what_is_hidden_from_a_position_is_whole_words_of_its_own_draw() -> None:
    words = np.array([[-1, 0, 0, 1, 2, 3, 3, 3, -1, -1]])
    hidden = hidden_places(words, np.array([9]), 0.5, np.random.default_rng(0).random((1, 10, 10)))[0]
    assert hidden.shape == (10, 10)
    assert not hidden[:, [0, 8, 9]].any()
    for one, other in ((1, 2), (5, 6), (6, 7)):
        assert (hidden[:, one] == hidden[:, other]).all()
    assert len({tuple(row) for row in hidden}) > 2
    assert hidden.sum(1).max() <= round(9 * 0.5)


def test_masking_as_in_bert_leaves_a_tenth_and_replaces_a_tenth() -> None:
    model = BottleneckModel(bert(0), None, BottleneckOptions(decoder="none", encoder_corruption="masked", mask_tokens="80-10-10"))
    draw, words = torch.Generator().manual_seed(0), model.encoder.config.vocab_size
    tokens, masked = torch.randint(1, words, (200, 500), generator=draw), torch.rand((200, 500), generator=draw) < 0.5
    read = model._masked(tokens, masked, torch.rand((200, 500), generator=draw), 0)
    assert torch.equal(read[~masked], tokens[~masked])
    kept, hidden = (read == tokens)[masked].double().mean().item(), (read == 0)[masked].double().mean().item()
    assert hidden == pytest.approx(0.8 + 0.1 / words, abs=0.006)
    assert kept == pytest.approx(0.1 + 0.1 / words, abs=0.005)
    chosen = read[masked & (read != tokens) & (read != 0)].bincount(minlength=words)[1:]
    assert chosen.max() < 3 * chosen.min()
