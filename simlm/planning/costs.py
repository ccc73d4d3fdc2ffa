"""The constants of the cost model: what a machine needs for one unit of each kind of work. ``simlm calibrate`` measures them."""

from __future__ import annotations

import math
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from simlm.config.base import Block
from simlm.errors import UserError, nearest

DEFAULT = Path(__file__).with_name("costs.yaml")


class Accelerator(Block):
    """A GPU, by its data sheet and an assumed utilisation."""

    peak_tflops: float = Field(gt=0, description="Dense bf16 (V100: fp16) tensor operations per second, from the data sheet.")
    training: float = Field(gt=0, le=1, description="Assumed share of the peak that training reaches.")
    inference: float = Field(gt=0, le=1, description="Assumed share of the peak that encoding and scoring reach.")
    source: str = Field(description="Where the figures come from.")


class Costs(Block):
    """CPU seconds per unit of work, and speeds in operations per CPU second."""

    machine: str = Field(description="What was measured.")
    start_light: float = Field(ge=0, description="CPU seconds until a command without torch works.")
    start_torch: float = Field(ge=0, description="CPU seconds until a command with a model works.")
    start_training: float = Field(ge=0, description="CPU seconds until a training takes its first step.")
    corpus_word: float = Field(gt=0, description="CPU seconds per word written to the corpus store.")
    vocabulary_word: float = Field(gt=0, description="CPU seconds per word when a vocabulary is trained.")
    tokenize_word: float = Field(gt=0, description="CPU seconds per word cut into tokens.")
    bm25_index_word: float = Field(gt=0, description="CPU seconds per word indexed for BM25.")
    bm25_query: float = Field(gt=0, description="CPU seconds per BM25 query, whatever the corpus.")
    bm25_posting: float = Field(gt=0, description="CPU seconds per posting that a BM25 query adds up.")
    negatives_query: float = Field(gt=0, description="CPU seconds per query whose negatives are mined.")
    run_line: float = Field(gt=0, description="CPU seconds per line of a TREC run, written.")
    judged_line: float = Field(gt=0, description="CPU seconds per line of a TREC run, read and judged.")
    vector_byte: float = Field(gt=0, description="CPU seconds per byte of the vectors, read, compared with its digest, indexed and written.")
    training_step: float = Field(ge=0, description="CPU seconds per optimiser step beside the arithmetic.")
    search_gflops: float = Field(gt=0, description="10⁹ operations per CPU second of exact vector search.")
    training_gflops: dict[int, float] = Field(min_length=1, description="Width of a model → 10⁹ operations per CPU second in training.")
    inference_gflops: dict[int, float] = Field(min_length=1, description="Width of a model → 10⁹ operations per CPU second in inference.")
    bf16_speedup: float = Field(
        1.0, ge=1, description="Speed of arithmetic in bf16 over the tables, where they were measured in fp32 and the processor has bf16 instructions."
    )
    accelerators: dict[str, Accelerator] = Field(min_length=1, description="GPUs by name; the first is the one assumed.")

    def gflops(self, width: int, training: bool) -> float:
        """Speed at a width, interpolated between the measured ones on logarithmic scales."""
        table = sorted((self.training_gflops if training else self.inference_gflops).items())
        low = max((entry for entry in table if entry[0] <= width), default=table[0])
        high = min((entry for entry in table if entry[0] >= width), default=table[-1])
        if low[0] == high[0] or not low[0] <= width <= high[0]:
            return low[1] if width > table[0][0] else table[0][1]
        share = math.log(width / low[0]) / math.log(high[0] / low[0])
        return math.exp((1 - share) * math.log(low[1]) + share * math.log(high[1]))

    def accelerator(self, name: str | None) -> tuple[str, Accelerator]:
        """The accelerator of that name, or the first.

        Raises
        ------
        UserError
            If there is none of that name.
        """
        name = name or next(iter(self.accelerators))
        if name not in self.accelerators:
            raise UserError(f"--accelerator: none is called '{name}'{nearest(name, self.accelerators)} (there are {', '.join(self.accelerators)})")
        return name, self.accelerators[name]


def load_costs(path: str | Path | None = None) -> Costs:
    """Read a file of constants; without a path, the one that comes with the project.

    Raises
    ------
    UserError
        If it is missing or not what ``simlm calibrate`` writes.
    """
    path = Path(path or DEFAULT)
    try:
        return Costs.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run simlm calibrate --output {path}, or leave --costs out") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())[:120]}); run simlm calibrate again") from None
    except ValidationError as error:
        mistake = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, mistake['loc'])) or 'the file'}: {mistake['msg']}; run simlm calibrate again") from None
