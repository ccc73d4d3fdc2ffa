"""What is known of architectures by their names (``model_type`` of a ``config.json``), without transformers and without torch."""

from __future__ import annotations

POSITIONS_FROM_PADDING = frozenset(
    ["camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"]
)
"""Kin of RoBERTa: they count positions from the padding id + 1."""

DROPOUTS = frozenset(
    [
        *("hidden_dropout_prob", "attention_probs_dropout_prob"),  # BERT and most of its kin
        *("dropout", "attention_dropout"),  # DistilBERT, XLM, FlauBERT
        *("embedding_dropout", "mlp_dropout"),  # ModernBERT, whose attention has attention_dropout
        *("hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),  # Funnel, GPT-2
    ]
)
"""Names of the dropouts of hidden states and attention; those of classifiers and poolers are others."""

TAKEN_APART = frozenset(["bert", "camembert", "data2vec-text", "electra", "roberta", "xlm-roberta"])
"""Architectures with BERT's layer: normalised behind attention and feed-forward, with positions in the embeddings. RetroMAE's decoder computes inside of it."""

DECODING = TAKEN_APART | {"deberta-v2", "distilbert", "modernbert", "mpnet", "nomic_bert", "roberta-prelayernorm", "xlm-roberta-xl", "xmod"}
"""Architectures of whose layers the decoder of a pre-training can be made, which runs them as the encoder does."""

PACKED = (TAKEN_APART | DECODING | {"albert"}) - {"deberta-v2", "mpnet"}
"""Architectures that read packed rows: each token's position is told to them, and they leave attention to transformers' interface."""


def why_not_packed(architecture: str) -> str | None:
    """Why an architecture goes on reading padded batches where rows of packed tokens are asked for; None if it reads rows.

    >>> why_not_packed("bert"), why_not_packed("mpnet")
    (None, 'a mpnet counts the distances between tokens over the whole row, and so across texts')
    """
    if architecture in PACKED:
        return None
    if architecture in ("deberta-v2", "mpnet"):
        return f"a {architecture} counts the distances between tokens over the whole row, and so across texts"
    return f"a {architecture} was not checked for keeping the texts of a row apart"


def why_no_decoder(architecture: str, decoder: str) -> str | None:
    """Why a ``decoder`` of the kind ``bottleneck`` cannot be made of the layers of an architecture; None if it can.

    >>> why_no_decoder("roberta", "retromae"), why_no_decoder("albert", "none")
    (None, None)
    >>> why_no_decoder("mpnet", "retromae")
    "the decoder of RetroMAE is computed inside of BERT's layer, which a mpnet does not have; set decoder: shallow or condenser"
    """
    if decoder == "none" or architecture in TAKEN_APART:
        return None
    if architecture in DECODING:
        inside = f"the decoder of RetroMAE is computed inside of BERT's layer, which a {architecture} does not have; set decoder: shallow or condenser"
        return inside if decoder == "retromae" else None
    shared = "shares one layer among all" if architecture == "albert" else "has layers of which none is made here"
    return (
        f"the decoder is made of copies of the encoder's layers, and a {architecture} {shared}; set decoder: none, with bag_of_words or encoder_objective alone"
    )
