"""Pre-training of a retriever: texts are corrupted, heads undo it; SimLM (paper section 3.1, Figure 1) is one setting."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from simlm import metering
from simlm.models.heads.bag_of_words import bag_of_words_loss, cls_logits, cosine_weight, word_logits
from simlm.models.heads.decoder import decoder_layers, layers_of, position_states, read_enhanced, read_forward, text_states
from simlm.models.heads.detection import DetectionHead
from simlm.models.heads.language import filled_up, language_loss
from simlm.models.packing import is_packed
from simlm.models.replacement import replace_tokens

if TYPE_CHECKING:
    from simlm.config.kinds import Bottleneck
    from simlm.config.kinds.bottleneck import BagOfWords


@dataclass(frozen=True)
class BottleneckOptions:
    """Settings of :class:`BottleneckModel`; the names are those of the configuration, the defaults are SimLM."""

    decoder_layers: int = 2
    decoder_token_types: str = "pair"
    train_generator: bool = False
    generator_weight: float = 0.2
    generator_labels: str = "both"
    generator_dropout: bool = False
    encoder_corruption: str = "replaced"
    mask_tokens: str = "all"
    encoder_objective: str = "restore"
    decoder: str = "shallow"
    decoder_corruption: str = "replaced"
    decoder_objective: str = "restore"
    decoder_init: str = "copied"
    early_layer: int | None = None
    bag_of_words: BagOfWords | None = None

    @classmethod
    def of(cls, settings: Bottleneck) -> BottleneckOptions:
        """Those of a configured model."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class BottleneckModel(nn.Module):
    """An encoder of corrupted text, with the heads that its settings ask for; a decoder sees the text through [CLS].

    Parameters
    ----------
    encoder
        A masked language model; its body is the encoder, its head serves both sides.
    generator
        A masked language model with the same vocabulary, or None where no text is replaced.
    options
        See :class:`BottleneckOptions`.
    """

    divisible = True
    """The loss of a step is a mean over its examples, which may be read in micro-batches of any size."""

    def __init__(self, encoder: nn.Module, generator: nn.Module | None, options: BottleneckOptions) -> None:
        super().__init__()
        if generator is not None and encoder.config.vocab_size != generator.config.vocab_size:
            raise ValueError(
                f"the encoder has {encoder.config.vocab_size} words and the generator {generator.config.vocab_size}; they must share one vocabulary"
            )
        self.options = options
        self.encoder = encoder
        self.generator = generator
        self.decoder = nn.ModuleList() if options.decoder == "none" else decoder_layers(encoder, options.decoder_layers, options.decoder_init)
        objectives = {"encoder": options.encoder_objective, "decoder": options.decoder_objective if options.decoder != "none" else "none"}
        self.detectors = nn.ModuleDict(
            {side: DetectionHead(encoder.config.hidden_size, encoder.config.initializer_range) for side, what in objectives.items() if what == "detect"}
        )
        for parameter in self.generator.parameters() if generator is not None else ():
            parameter.requires_grad_(options.train_generator)

    @property
    def body(self) -> nn.Module:
        """The encoder without its language-model head."""
        return self.encoder.base_model

    def train(self, mode: bool = True) -> BottleneckModel:
        """Switch training mode; a frozen generator stays in eval mode unless its dropout is asked for."""
        super().train(mode)
        if self.generator is not None and not self.options.train_generator and not self.options.generator_dropout:
            self.generator.eval()
        return self

    def forward(self, **batch: Any) -> dict[str, torch.Tensor]:
        """The losses of one micro-batch; takes what :meth:`read` takes."""
        return self.read(**batch)[0]

    def read(
        self,
        tokens: torch.Tensor,
        token_types: torch.Tensor | None,
        attention_mask: torch.Tensor,
        encoder_masked: torch.Tensor,
        decoder_masked: torch.Tensor,
        draws: torch.Tensor,
        labelled: torch.Tensor,
        mask_id: int,
        shares: torch.Tensor | None = None,
        hidden_from: torch.Tensor | None = None,
        content: torch.Tensor | None = None,
        progress: float = 0.0,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The losses of one micro-batch, and the encoder's [CLS] states, shape (passages, width).

        Parameters
        ----------
        tokens, token_types, attention_mask
            The passages, shape (passages, length); token types are None where the architecture reads none.
        encoder_masked, decoder_masked
            bool, same shape: positions that are corrupted.
        draws
            Uniform numbers, shape (2, passages, length), for the encoder's and the decoder's replacements.
        labelled
            Flat positions (of passages × length) at which tokens are restored or replacements detected; where only masked tokens
            are restored, all masked positions are.
        mask_id
            Id of [MASK].
        shares
            Weights of this batch's means in those of the whole step, shape (4,): of the encoder's and the decoder's loss, the
            generator's, and the bags of words. None: the batch is the whole step.
        hidden_from
            For RetroMAE's decoder: bool (passages, length, length), places that a position may not look at; itself is added.
        content
            For bags of words: bool (passages, length), tokens that are neither special nor padding.
        progress
            Share of the training that is over, which the weight of the bags of words depends on.

        Returns
        -------
        dict, tensor
            ``loss`` and its parts, the share of corrupted tokens of either side, and the number of tokens. A part without a
            single label is 0.
        """
        options = self.options
        masked = {"encoder": encoder_masked, "decoder": decoder_masked}
        read, generator_loss = self._corrupt(tokens, token_types, attention_mask, masked, draws, mask_id)
        early = options.decoder == "condenser"
        extras = {"output_hidden_states": True} if early else {}
        types = {} if token_types is None else {"token_type_ids": token_types}
        output = self.body(input_ids=read["encoder"], attention_mask=attention_mask, **types, **extras)
        states = {"encoder": output.last_hidden_state}
        cls = states["encoder"][:, 0]
        if options.decoder == "shallow":
            states["decoder"] = self.decode(cls, read["decoder"], token_types, attention_mask)
        elif early:
            beside = output.hidden_states[self.early_layer]
            states["decoder"] = self._through(torch.cat([cls[:, None], beside[:, 1:]], dim=1), attention_mask)
        elif options.decoder == "retromae":
            states["decoder"] = self._enhanced(cls, tokens, token_types, attention_mask, hidden_from)

        flat = tokens.reshape(-1)
        everywhere = filled_up(labelled, flat)
        losses = {}
        for i, side in enumerate(states):
            objective = getattr(options, f"{side}_objective")
            if objective == "none":
                continue
            places, labels = filled_up(masked[side].reshape(-1).nonzero()[:, 0], flat) if objective == "restore_masked" else everywhere
            if objective == "detect":
                value = self.detectors[side].loss(states[side], read[side], places, labels)
            else:
                value = language_loss(self.encoder, states[side], places, labels)
            losses[f"{side}_loss"] = value if shares is None else shares[i] * value
        loss = sum(losses.values())
        if options.bag_of_words is not None:
            bag = options.bag_of_words
            logits = cls_logits(self.encoder, cls) if bag.read == "cls" else word_logits(self.encoder, states["encoder"], attention_mask)
            value = bag_of_words_loss(logits, tokens, content, bag.share)
            losses["bag_of_words_loss"] = value if shares is None else shares[3] * value
            loss = loss + cosine_weight(bag.weight, bag.final_weight, progress) * losses["bag_of_words_loss"]
        if options.train_generator:
            losses["generator_loss"] = generator_loss if shares is None else shares[2] * generator_loss
            loss = loss + options.generator_weight * losses["generator_loss"]
        real = attention_mask.sum()
        if not is_packed(self.encoder):
            metering.read(real, tokens.numel())
        corrupted = {f"{side}_{self._corruption(side)}": ((text != tokens).sum() / real).detach() for side, text in read.items() if text is not tokens}
        return {"loss": loss, **{name: value.detach() for name, value in losses.items()}, **corrupted, "tokens": real}, cls

    @property
    def early_layer(self) -> int:
        """Layer of the encoder whose states Condenser's head reads; 0 is its embeddings."""
        return self.options.early_layer if self.options.early_layer is not None else len(layers_of(self.body)) // 2

    def decode(self, bottleneck: torch.Tensor, decoder_input: torch.Tensor, token_types: torch.Tensor | None, attention_mask: torch.Tensor) -> torch.Tensor:
        """Run the shallow decoder with the encoder's [CLS] state (passages, width) at position 0 of its input."""
        return self._through(self._text(bottleneck, decoder_input, token_types), attention_mask)

    def _text(self, bottleneck: torch.Tensor, tokens: torch.Tensor, token_types: torch.Tensor | None) -> torch.Tensor:
        types = token_types if token_types is None or self.options.decoder_token_types == "pair" else torch.zeros_like(token_types)
        embedded = text_states(self.body, tokens, types)
        return torch.cat([bottleneck[:, None].to(embedded.dtype), embedded[:, 1:]], dim=1)

    def _through(self, state: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return read_forward(self.body, self.decoder, state, attention_mask)

    def _enhanced(
        self, cls: torch.Tensor, tokens: torch.Tensor, token_types: torch.Tensor | None, attention_mask: torch.Tensor, hidden_from: torch.Tensor
    ) -> torch.Tensor:
        """RetroMAE's decoder: [CLS] plus a position asks the clean text, of which it may not see itself and its sample."""
        length = tokens.shape[1]
        positions = position_states(self.body, length)
        text = self._text(cls, tokens, token_types)
        hidden = hidden_from | torch.eye(length, dtype=torch.bool, device=tokens.device)
        hidden[:, :, 0] = False  # [CLS] is the bottleneck; without it the last position of a short text would see nothing
        return read_enhanced(self.decoder, (cls[:, None] + positions).to(text.dtype), text, ~hidden & attention_mask[:, None, :].to(torch.bool))

    def _corruption(self, side: str) -> str:
        return self.options.encoder_corruption if side == "encoder" else self.options.decoder_corruption

    def _corrupt(self, tokens, token_types, attention_mask, masked, draws, mask_id) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """What each side reads, by side, and the generator's loss; the decoder reads a text of its own only where it is SimLM's."""
        how = {side: self._corruption(side) for side in (("encoder", "decoder") if self.options.decoder == "shallow" else ("encoder",))}
        read = dict.fromkeys(how, tokens)
        for i, (side, corruption) in enumerate(how.items()):
            if corruption == "masked":
                read[side] = self._masked(tokens, masked[side], draws[i], mask_id)
        sides = [side for side, corruption in how.items() if corruption == "replaced"]
        if not sides:
            return read, None
        own = draws if len(sides) == 2 else draws[["encoder", "decoder"].index(sides[0])][None]
        positions = torch.stack([masked[side] for side in sides])
        learned = 0 if not self.options.train_generator else len(sides) if self.options.generator_labels == "both" else 1
        filled, loss = replace_tokens(self.generator, tokens, token_types, attention_mask, positions, own, mask_id, learned)
        return read | dict(zip(sides, filled)), loss

    def _masked(self, tokens: torch.Tensor, masked: torch.Tensor, draws: torch.Tensor, mask_id: int) -> torch.Tensor:
        """[MASK] at the masked positions; with ``80-10-10`` at those with a draw below 0.8, a token by chance up to 0.9, the text's own beyond."""
        if self.options.mask_tokens == "all":
            return torch.where(masked, mask_id, tokens)
        words = self.encoder.config.vocab_size
        by_chance = ((draws - 0.8) * 10 * words).long().clamp(0, words - 1)
        filled = torch.where(draws < 0.8, mask_id, torch.where(draws < 0.9, by_chance, tokens))
        return torch.where(masked, filled, tokens)


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
