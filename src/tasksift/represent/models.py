"""Loading models and tokenizers: from safetensors only, without code of strangers, with a digest of what was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent.store import file_digest

Precision = Literal["float32", "bfloat16"]

_COUNTS = (".safetensors", ".json", ".txt", ".model", ".jinja")
"""Suffixes of the files that decide what a model computes."""

_CODE = (".py",)
"""The same for code that comes with a model, where it may run."""


@dataclass
class CausalModel:
    """A causal language model ready to be asked.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode on its device, so that dropout is off.
    tokenizer : transformers tokenizer
    identity : dict
        Name, revision and digest, as JSON: what a feature store must know of the model.
    """

    model: Any
    tokenizer: Any
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """What the weights are held in, such as ``float32``."""
        return str(self.model.dtype).removeprefix("torch.")


def load_causal(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: Precision = "float32",
    trust_remote_code: bool = False,
) -> CausalModel:
    """Load a causal language model and its tokenizer.

    Parameters
    ----------
    name : str
        A folder that `save_pretrained` wrote, or a name on the Hugging Face hub.
    revision : str, optional
        Branch, tag or commit of a hub model.
    device : str
        ``cpu``, ``cuda``, ``cuda:1``.
    dtype : str
        What the weights are held and multiplied in.
    trust_remote_code : bool
        Whether code that comes with the model may run.

    Raises
    ------
    InputError
        If there is no such model, it is no causal model, it has no safetensors or not all of its weights, or the
        device is not there.
    """
    torch, transformers = need_models("a representation of a language model")
    from safetensors import SafetensorError

    place = check_device(device)
    folder, facts = find_model(name, revision, code=trust_remote_code)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"--model {name}: {folder} holds no *.safetensors; save the model with safetensors")
    try:
        with quiet_loading():
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=trust_remote_code,
                output_loading_info=True, ignore_mismatched_sizes=True,
            )  # fmt: skip
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise InputError(f"--model {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    absent = sorted(str(key) for key in [*info["missing_keys"], *info["mismatched_keys"]])
    if absent:  # transformers would have put random numbers there
        raise InputError(
            f"--model {name}: {folder} lacks weights of a causal language model or has them in another shape "
            f"({', '.join(absent)[:200]}); give a model with its output layer, as save_pretrained writes it"
        )
    model.eval().requires_grad_(False).to(place)
    return CausalModel(model, tokenizer, facts)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep bars and reports of transformers off the terminal, which has bars of its own."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def find_model(name: str | Path, revision: str | None = None, *, code: bool = False) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a model, fetched from the hub if need be, and its name, revision and digest.

    Parameters
    ----------
    name, revision
        As in `load_causal`.
    code : bool
        Whether code that comes with the model may run: it is then fetched and counted in the digest.

    Raises
    ------
    InputError
        If neither a folder nor the hub has it.
    """
    folder = _fetch(name, revision, code)
    here = Path(name).is_dir()
    facts = {"name": folder.resolve().name if here else str(name), "revision": None if here else folder.name}
    return folder, {**facts, "digest": folder_digest(folder, code=code)}


def _fetch(name: str | Path, revision: str | None, code: bool) -> Path:
    folder = Path(name)
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"--revision {revision} is for hub models, and --model {name} is a folder; leave it out")
        return folder
    if folder.is_absolute() or str(name).count("/") > 1 or str(name).startswith("."):
        raise InputError(f"--model {name}: there is no such folder")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtraError("huggingface_hub", "models", "a model of the hub") from None
    wanted = [f"*{end}" for end in (*_COUNTS, *(_CODE if code else ()))]
    try:
        return Path(snapshot_download(str(name), revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--model {name}: neither a folder nor to be had from the hub ({reason})") from None


def folder_digest(folder: Path, *, code: bool = False) -> str:
    """Return the hex digest of a model folder: names and bytes of weights, configuration, tokenizer and trusted code.

    Cost: one read of the weights.
    """
    digest, counts = blake2b(digest_size=16), (*_COUNTS, *(_CODE if code else ()))
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in counts):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


LONGEST = 2048
"""Tokens of a row at most, unless asked otherwise."""


def longest_input(config: Any) -> int:
    """Return how many tokens a model of that configuration takes at once, `LONGEST` at most."""
    return min(LONGEST, int(getattr(config, "max_position_embeddings", None) or LONGEST))


def model_length(name: str | Path, revision: str | None = None, *, trust_remote_code: bool = False) -> int:
    """Return `longest_input` of a model that is not loaded."""
    _, transformers = need_models("--model")
    folder = _fetch(name, revision, trust_remote_code)
    try:
        with quiet_loading():
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise InputError(f"--model {name} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    return longest_input(config)


def check_device(device: str) -> Any:
    """Return the torch device of that name, or say in one line why it cannot be used."""
    torch, _ = need_models("--device")
    try:
        place = torch.device(device)
    except RuntimeError:
        raise InputError(f"--device {device} is no device; use cpu, cuda or cuda:N") from None
    if place.type not in ("cpu", "cuda"):
        raise InputError(f"--device {device} is not supported; use cpu, cuda or cuda:N")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {device}: PyTorch sees {torch.cuda.device_count()} GPUs here; use --device cpu")
    return place


def need_models(purpose: str) -> tuple[Any, Any]:
    """Import torch and transformers, or name the pip line that installs them."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(error.name or "transformers", "models", purpose) from None
    return torch, transformers
