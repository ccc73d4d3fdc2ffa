"""How a model folder is used from Python, as Markdown for its card; ``{query}``, ``{passage}`` and ``{pair}`` are lengths in tokens."""

EMBEDDING = """
## Usage

With transformers:

```python
import torch
from transformers import AutoModel, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

def embed(length, *texts):
    batch = tokenizer(*texts, max_length=length, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return torch.nn.functional.normalize(model(**batch).last_hidden_state[:, 0], dim=-1)

queries = embed({query}, ["a question"])
passages = embed({passage}, ["title of the passage, or - if it has none"], ["text of the passage"])
print(queries @ passages.T)
```

With sentence-transformers, where a passage is a (title, text) pair:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
print(model.encode(["a question"]) @ model.encode([("title", "text of the passage")]).T)
```

sentence-transformers cuts every text at {passage} tokens; training and evaluation cut queries at {query}.
The pooler in the weights is an identity that only keeps `AutoModel` from warning; it plays no part in the embedding.
"""

AS_SAID = """
## Usage

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["a question"])
passages = model.encode_document([{example}])
print(model.similarity(queries, passages))
```

`encode_query` and `encode_document` write the prompts; evaluation cut queries at {query} and passages at {passage} tokens.
"""
"""For a retriever that reads in another way than SimLM's: the files beside the weights say how."""

PAIRS = """
## Usage

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()
batch = tokenizer(["a question"], ["{hint}title: text of the passage"], max_length={pair}, truncation=True, padding=True, return_tensors="pt")
with torch.inference_mode():
    print(model(**batch).logits[:, 0])
```

A passage without a title is its text alone.
"""

HINTED = """
This model was trained with hints: write before each passage its BM25 score in percent of the best that any passage of the corpus has
for that query, rounded, and 0 where they share no term: `"57 title: text of the passage"`. Without the number its logits mean little.
"""

MASKED = """
## Usage

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder)
```
"""
