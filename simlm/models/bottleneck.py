"""SimLM's pre-training model: encoder, bottleneck, shallow decoder, generator (paper section 3.1, Figure 1)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from simlm.models.linear_cross_entropy import IGNORED, linear_cross_entropy, rows_at_once


@dataclass(frozen=True)
class BottleneckOptions:
    """Settings of :class:`BottleneckModel`; the names are those of the configuration."""

    decoder_layers: int = 2
    decoder_token_types: str = "pair"
    train_generator: bool = False
    generator_weight: float = 0.2
    generator_dropout: bool = False


def sample_from_logits(logits: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Sample one token per row from the full softmax at temperature 1, by inverse CDF.

    The cumulative sum runs over blocks first and then inside the chosen block, which is far cheaper than one over
    the vocabulary.

    Parameters
    ----------
    logits
        Shape (rows, vocabulary).
    draws
        Uniform numbers in [0, 1), shape (rows,).

    >>> sample_from_logits(torch.tensor([[0.0, 0.0, 50.0]]), torch.tensor([0.3]))
    tensor([2])
    """
    rows, vocabulary = logits.shape
    block = 64
    logits = logits.float()
    weights = (logits - logits.amax(1, keepdim=True)).exp_()
    short = -vocabulary % block
    if short:
        weights = nn.functional.pad(weights, (0, short))
    weights = weights.view(rows, -1, block)
    cumulated = weights.sum(2).cumsum(1)
    target = draws.to(cumulated.dtype) * cumulated[:, -1]
    chosen = (cumulated <= target[:, None]).sum(1).clamp_(max=weights.shape[1] - 1)
    before = torch.where(chosen > 0, cumulated.gather(1, (chosen - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    inside = weights[torch.arange(rows, device=logits.device), chosen].cumsum(1)
    place = (inside <= (target - before)[:, None]).sum(1)
    # Rounding may push the target past the last word with any weight: step back to it.
    last = (inside < inside[:, -1:]).sum(1)
    return (chosen * block + torch.minimum(place, last)).clamp_(max=vocabulary - 1)


class BottleneckModel(nn.Module):
    """Encoder and decoder restore what the generator replaced; only [CLS] passes from one to the other.

    Parameters
    ----------
    encoder
        A BERT masked language model; its body is the encoder, its head serves both sides.
    generator
        A masked language model with the same vocabulary.
    options
        See :class:`BottleneckOptions`.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, options: BottleneckOptions) -> None:
        super().__init__()
        if encoder.config.vocab_size != generator.config.vocab_size:
            raise ValueError(
                f"the encoder has {encoder.config.vocab_size} words and the generator {generator.config.vocab_size}; they must share one vocabulary"
            )
        self.options = options
        self.encoder = encoder
        self.generator = generator
        self.decoder = copy.deepcopy(self.body.encoder.layer[-options.decoder_layers :])
        for parameter in self.generator.parameters():
            parameter.requires_grad_(options.train_generator)

    @property
    def body(self) -> nn.Module:
        """The encoder without its language-model head."""
        return self.encoder.base_model

    def train(self, mode: bool = True) -> BottleneckModel:
        """Switch training mode; a frozen generator stays in eval mode unless its dropout is asked for."""
        super().train(mode)
        if not self.options.train_generator and not self.options.generator_dropout:
            self.generator.eval()
        return self

    def forward(
        self,
        tokens: torch.Tensor,
        token_types: torch.Tensor,
        attention_mask: torch.Tensor,
        encoder_masked: torch.Tensor,
        decoder_masked: torch.Tensor,
        draws: torch.Tensor,
        labelled: torch.Tensor,
        mask_id: int,
        shares: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """One step of replaced language modelling.

        Parameters
        ----------
        tokens, token_types, attention_mask
            The passages, shape (passages, length).
        encoder_masked, decoder_masked
            bool, same shape: positions that the generator fills.
        draws
            Uniform numbers, shape (2, passages, length), for the encoder's and the decoder's replacements.
        labelled
            Flat positions (of passages × length) on which the losses are computed.
        mask_id
            Id of [MASK].
        shares
            Weights of this batch's means in those of the whole step, shape (2,): of the two losses over labelled
            positions, and of the generator's over masked ones. None: the batch is the whole step.

        Returns
        -------
        dict
            ``loss`` and its parts, the share of replaced tokens of either side, and the number of tokens.
        """
        replaced, generator_loss = self._replace(tokens, token_types, attention_mask, encoder_masked, decoder_masked, draws, mask_id)
        encoder_input, decoder_input = replaced[0], replaced[1]
        hidden = self.body(input_ids=encoder_input, token_type_ids=token_types, attention_mask=attention_mask).last_hidden_state
        decoded = self.decode(hidden[:, 0], decoder_input, token_types, attention_mask)
        labelled, labels = filled_up(labelled, tokens.reshape(-1))
        encoder_loss = self.language_loss(hidden, labelled, labels)
        decoder_loss = self.language_loss(decoded, labelled, labels)
        if shares is not None:
            encoder_loss, decoder_loss, generator_loss = shares[0] * encoder_loss, shares[0] * decoder_loss, shares[1] * generator_loss
        loss = encoder_loss + decoder_loss
        if self.options.train_generator:
            loss = loss + self.options.generator_weight * generator_loss
        real = attention_mask.sum()
        values = {
            "loss": loss,
            "encoder_loss": encoder_loss.detach(),
            "decoder_loss": decoder_loss.detach(),
            "encoder_replaced": ((encoder_input != tokens).sum() / real).detach(),
            "decoder_replaced": ((decoder_input != tokens).sum() / real).detach(),
            "tokens": real,
        }
        return values | ({"generator_loss": generator_loss.detach()} if self.options.train_generator else {})

    def decode(self, bottleneck: torch.Tensor, decoder_input: torch.Tensor, token_types: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Run the shallow decoder with the encoder's [CLS] state (passages, width) at position 0 of its input."""
        types = token_types if self.options.decoder_token_types == "pair" else torch.zeros_like(token_types)
        embedded = self.body.embeddings(input_ids=decoder_input, token_type_ids=types)
        state = torch.cat([bottleneck[:, None].to(embedded.dtype), embedded[:, 1:]], dim=1)
        allowed = attention_mask[:, None, None, :].to(torch.bool)
        if self.body.config._attn_implementation != "sdpa":
            allowed = torch.zeros(allowed.shape, dtype=state.dtype, device=state.device).masked_fill(~allowed, torch.finfo(state.dtype).min)
        for layer in self.decoder:
            state = layer(state, attention_mask=allowed)
            state = state[0] if isinstance(state, tuple) else state
        return state

    def language_loss(self, hidden: torch.Tensor, labelled: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the shared language-model head at the labelled positions."""
        head = self.encoder.cls.predictions
        states = head.transform(hidden.reshape(-1, hidden.shape[-1])[labelled])
        return linear_cross_entropy(states, head.decoder.weight, head.decoder.bias, labels)

    def _replace(self, tokens, token_types, attention_mask, encoder_masked, decoder_masked, draws, mask_id):
        """Fill both sides' masked positions with the generator's samples: (2, passages, length), and its loss."""
        masked = torch.stack([encoder_masked, decoder_masked])
        inputs = torch.where(masked, mask_id, tokens).reshape(-1, tokens.shape[1])
        originals = tokens.repeat(2, 1).reshape(-1)
        wanted = masked.reshape(-1).nonzero()[:, 0]
        places, labels = filled_up(wanted, originals)
        with torch.set_grad_enabled(self.options.train_generator and torch.is_grad_enabled()):
            states = self.generator.base_model(
                input_ids=inputs, token_type_ids=token_types.repeat(2, 1), attention_mask=attention_mask.repeat(2, 1)
            ).last_hidden_state
            states = generator_states(self.generator, states.reshape(-1, states.shape[-1])[places])
            weight, bias = output_layer(self.generator)
            loss = linear_cross_entropy(states, weight, bias, labels) if self.options.train_generator else torch.zeros(())
        samples = self._sample(states.detach(), weight.detach(), bias.detach(), draws.reshape(-1)[places])
        originals[wanted] = samples[: len(wanted)]
        return originals.view(2, *tokens.shape), loss

    @torch.no_grad()
    def _sample(self, states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Sample in chunks, so that the logits of all masked positions never exist at once."""
        rows = rows_at_once(states.device, len(weight))
        return torch.cat(
            [sample_from_logits(nn.functional.linear(states[i : i + rows], weight, bias), draws[i : i + rows]) for i in range(0, len(states), rows)]
        )


def filled_up(places: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and their labels, filled up with ignored ones to a multiple of 512.

    On a CPU every new shape of a matrix product costs time and memory that is never given back, so that a number
    of positions that changes from step to step made training twice as slow and let it grow by gigabytes.

    Parameters
    ----------
    places
        Flat positions, shape (n,).
    tokens
        The flat tokens that the labels are taken from.

    >>> places, labels = filled_up(torch.tensor([3, 1]), torch.tensor([5, 6, 7, 8]))
    >>> len(places), labels[:3].tolist()
    (512, [8, 6, -100])
    """
    short = -len(places) % 512
    labels = nn.functional.pad(tokens[places], (0, short), value=IGNORED)
    return nn.functional.pad(places, (0, short), value=0), labels


def generator_states(generator: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """What the output layer of a masked language model sees: BERT's transform or ELECTRA's prediction head."""
    if hasattr(generator, "generator_predictions"):
        return generator.generator_predictions(states)
    return generator.cls.predictions.transform(states)


def output_layer(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (vocabulary, width) and bias (vocabulary,) of a masked language model's output layer."""
    layer = model.get_output_embeddings()
    return layer.weight, layer.bias


def labelled_positions(special: np.ndarray, fraction: float, draws: np.ndarray) -> np.ndarray:
    """Flat positions of the tokens whose originals are predicted: all that are not special, or a random share of them.

    Parameters
    ----------
    special
        bool, shape (passages, length), true at special tokens and padding.
    fraction
        Share that is kept, in (0, 1].
    draws
        Uniform numbers of the same shape; position kept where the draw is below ``fraction``.
    """
    chosen = ~special if fraction >= 1 else ~special & (draws < fraction)
    return np.flatnonzero(chosen.reshape(-1))
