"""A model folder on its way to the Hugging Face Hub: what would be uploaded, and the upload.

The token is huggingface_hub's own: ``HF_TOKEN``, or what ``hf auth login`` has left. It is never part of a configuration, a command or a file here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from simlm.errors import UserError
from simlm.models.manifest import verified_manifest
from simlm.secrets import what_is_secret

CARD = "README.md"
REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}$")


@dataclass(frozen=True)
class Upload:
    """A folder and where it goes.

    Attributes
    ----------
    files
        Name → bytes.
    cautions
        What a person should know before.
    """

    folder: Path
    repository: str
    files: dict[str, int]
    card: str
    cautions: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.folder} → {self.repository}", *(f"  {size:>14,}  {name}" for name, size in self.files.items())]
        lines += [f"  {sum(self.files.values()):>14,}  bytes in {len(self.files)} files", "", "The card:", *(f"  {line}" for line in self.card.splitlines())]
        return "\n".join([*lines, "", *(f"caution: {sentence}" for sentence in self.cautions)]).rstrip()


def prepare(folder: Path, repository: str) -> Upload:
    """Look at a model folder as the Hub would see it; nothing is sent.

    Raises
    ------
    UserError
        If it is no whole model, has no card, its card holds what looks like a secret, or the repository is no ``owner/name``.
    """
    if not REPOSITORY.match(repository):
        raise UserError(f"'{repository}' is no repository of the Hub; give owner/name, of letters, digits, '.', '_' and '-'")
    verified_manifest(folder)
    if not (folder / CARD).is_file():
        raise UserError(f"{folder} has no {CARD}, the card of a model; make the model again, or write one")
    card = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    if secret := next(filter(None, map(what_is_secret, card.split())), None):
        raise UserError(f"{folder / CARD} holds {secret}; remove it before the card is published")
    files = {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file, folder)}
    return Upload(folder, repository, files, card, tuple(_cautions(card)))


def upload(what: Upload, private: bool = False, message: str = "Upload a model of simlm") -> str:
    """Make the repository, unless it is there, and put the files into it in one commit; returns the commit's address.

    Raises
    ------
    UserError
        If there is no token, or the Hub refuses.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise UserError("there is no token of the Hub; set HF_TOKEN, or run hf auth login, with one that may write")
    api = HfApi()
    try:
        api.create_repo(what.repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=what.repository, folder_path=what.folder, allow_patterns=list(what.files), commit_message=message)
    except Exception as error:  # many kinds: HTTP, proxy, timeouts, forbidden, quotas
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{what.repository} could not be uploaded ({type(error).__name__}: {reason}); look at the token's rights, and try again") from None
    return str(done.commit_url)


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _cautions(card: str) -> Iterator[str]:
    if not re.search(r"^license:", card, re.MULTILINE):
        yield "the card names no licence; the Hub shows none then"
    if paths := sorted(set(re.findall(r"(?<![\w/:.])/(?:home|root|Users|mnt|data|tmp)/[\w./-]+", card))):
        yield f"the card names folders of this machine, such as {paths[0]}"
