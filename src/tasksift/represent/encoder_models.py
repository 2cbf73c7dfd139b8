"""Opening encoders, whatever made them, as one thing: texts to rows, without pickles or code of strangers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent.models import Precision, check_device, quiet_loading

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_UNLOADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder that is ready to be asked.

    Attributes
    ----------
    encode : callable
        From texts and the prompt that is set before each of them to a table (texts, dim).
    lengths : callable or None
        From texts to their tokens, as far as they are read; None: nothing is padded, so all texts may go at once.
    facts : dict
        Precision, maximal length and library, as JSON.
    prompt : str
        The model's own, empty where it has none.
    """

    encode: Callable[[list[str], str], Any]
    lengths: Callable[[list[str]], list[int]] | None
    facts: dict[str, Any]
    prompt: str = ""


def load_transformer(
    what: str, folder: Path, device: str, dtype: Precision, trust_remote_code: bool, max_length: int | None
) -> LoadedEncoder:
    """Load a sentence-transformers model; `what` names it in messages.

    Raises
    ------
    InputError
        If it cannot be loaded, has pickled weights, wants to run code, or reads fewer than `max_length` tokens.
    """
    try:
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from transformers import PreTrainedTokenizerBase
    except ImportError as error:
        raise MissingExtraError(error.name or "sentence-transformers", "encoders", "an encoder") from None
    place = check_device(device)
    _check_files(what, folder, trust_remote_code)
    try:
        with quiet_loading():
            model: Any = SentenceTransformer(
                str(folder),
                device=str(place),
                trust_remote_code=trust_remote_code,
                model_kwargs={"use_safetensors": True, "dtype": getattr(torch, dtype)},
            )
    except (*_UNLOADABLE, SafetensorError) as error:
        raise InputError(f"{what} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    limit = model.max_seq_length
    if max_length is not None:
        most = _positions(folder)
        if most is not None and max_length > most:
            raise InputError(f"--max-length {max_length} is more than the {most} tokens that {what} can read")
        limit = model.max_seq_length = max_length
    prompt = model.prompts.get(model.default_prompt_name)
    # Given as a text from here on: the library would fall back on its default where it is None.
    model.default_prompt_name = None
    tokenizer = model.tokenizer

    def lengths(texts: list[str]) -> list[int]:
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            return [len(text) for text in texts]
        cut = {} if limit is None else {"truncation": True, "max_length": limit}
        found: list[int] = []
        for start in range(0, len(texts), 1024):
            found += map(len, tokenizer(texts[start : start + 1024], verbose=False, **cut)["input_ids"])
        return found

    def encode(texts: list[str], prompt: str) -> Any:
        return model.encode(texts, prompt=prompt or None, batch_size=len(texts), show_progress_bar=False)

    return LoadedEncoder(encode, lengths, _facts(dtype, limit, "sentence-transformers"), prompt or "")


def load_static(what: str, folder: Path, dtype: Precision, max_length: int | None) -> LoadedEncoder:
    """Load a model2vec model; parameters and errors as of `load_transformer`."""
    try:
        from model2vec import StaticModel
        from safetensors import SafetensorError
    except ImportError as error:
        raise MissingExtraError(error.name or "model2vec", "encoders", "a static encoder") from None
    if dtype != "float32":
        raise InputError(f"{what} is a table of word vectors in a precision of its own; leave --dtype {dtype} out")
    try:
        model = StaticModel.from_pretrained(folder)
    except (*_UNLOADABLE, SafetensorError) as error:
        raise InputError(f"{what} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    limit = max_length or getattr(model, "max_length", 512)

    def encode(texts: list[str], prompt: str) -> Any:
        return model.encode([prompt + text for text in texts], max_length=limit, use_multiprocessing=False)

    return LoadedEncoder(encode, None, _facts(dtype, limit, "model2vec"))


def wrap_object(what: str, model: Any) -> LoadedEncoder:
    """Take an object that has ``.encode``."""
    if not callable(getattr(model, "encode", None)):
        raise InputError(f"{what} has no .encode(texts); give a model's name, its folder, or an object that has it")

    def encode(texts: list[str], prompt: str) -> Any:
        return model.encode([prompt + text for text in texts])

    return LoadedEncoder(encode, lambda texts: [len(text) for text in texts], _facts(None, None, "python"))


def is_static(folder: Path) -> bool:
    """Whether the weights in a folder are the table of a model2vec model, by the names of their tensors."""
    path = folder / "model.safetensors"
    if not (path.is_file() and (folder / "config.json").is_file()):
        return False
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(size, 2**24)))
        except ValueError:
            return False
    return isinstance(header, dict) and "embeddings" in header


def _facts(dtype: str | None, max_length: int | None, library: str) -> dict[str, Any]:
    return {"dtype": dtype, "max_length": max_length, "library": library}


def _positions(folder: Path) -> int | None:
    """Return how many tokens a model with learned positions can read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    most = config.get("max_position_embeddings")
    # RoBERTa and its kin count positions from the padding token on.
    offset = (config.get("pad_token_id") or 0) + 1 if "roberta" in str(config.get("model_type")) else 0
    return int(most) - offset if most is not None and most > 0 else None


def _check_files(what: str, folder: Path, trust_remote_code: bool) -> None:
    """Refuse what is no sentence-transformers model, has pickled weights, or names code of its own."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [(str(module["type"]), folder / module["path"]) for module in modules]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{what} is no sentence-transformers model ({folder} has no modules.json that can be read), nor one of "
            "model2vec; save it with SentenceTransformer.save_pretrained"
        ) from None
    for kind, place in kinds:
        inside = [path.suffix for path in place.iterdir() if path.is_file()] if place.is_dir() else []
        if ".safetensors" not in inside and any(suffix in _PICKLES for suffix in inside):
            raise InputError(f"{what}: the weights in {place} are pickled; save the model with safetensors")
        if not kind.startswith("sentence_transformers.") and not trust_remote_code:
            raise InputError(f"{what} runs code of its own ({kind}); pass --trust-remote-code if you trust it")
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"{what}: {folder} holds no *.safetensors; save the model with safetensors")
