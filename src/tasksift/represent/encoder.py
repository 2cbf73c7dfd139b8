"""Vectors of texts from an encoder: sentence-transformers, model2vec, or anything in Python with `.encode`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent.models import check_device, find_model, quiet_loading
from tasksift.rows.example import Example

EncoderPrecision = Literal["auto", "float32", "bfloat16", "float16"]

BATCH_TOKENS = 16_384
"""Tokens of a batch at most, padding included, so that long texts do not fill the memory."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_UNLOADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError)


@dataclass
class _Loaded:
    """An encoder as this module uses it: texts to rows, texts to lengths, and the facts of its identity."""

    encode: Callable[[list[str]], Any]
    lengths: Callable[[list[str]], list[int]] | None  # None: nothing is padded, so all texts may go at once
    facts: dict[str, Any]
    prefix: str = ""


class Encoder:
    """Embeds the text of an example, prompt and response, with a model that was trained to embed texts.

    Parameters
    ----------
    model : str, Path or object
        A folder or hub name of a sentence-transformers or a model2vec model; which of the two is read from the files.
        Or an object whose ``encode(list of str)`` returns (texts, dim): an array, a tensor or lists.
    name : str, optional
        For an object: what stands for it in the identity; by default its class and, if it has one, its ``identity``
        or ``digest``. Whoever changes such a model must change this name, or old features pass for new ones.
    revision : str, optional
        Branch, tag or commit of a hub model.
    device : str
        ``cpu``, ``cuda``, ``cuda:1``; static (model2vec) models and objects stay where they are.
    dtype : str
        ``float32``, ``bfloat16``, ``float16`` (on CUDA), or ``auto``: half precision on CUDA, float32 on the CPU. The
        rows are float32 in any case.
    trust_remote_code : bool
        Whether code that comes with the model may run.
    max_length : int, optional
        Tokens of a text that are read, from its beginning; by default the model's own limit.
    prompt : str, optional
        Set before every text, like ``"passage: "``; by default the model's own default, ``""`` for none.
    batch_size : int
        Texts of a batch at most; fewer where they are long (`BATCH_TOKENS`).

    Attributes
    ----------
    dim, identity
        As of an `Embedder`.

    Raises
    ------
    InputError
        If there is no such model, it has pickled weights only, it wants to run code, or an option does not fit it.

    Notes
    -----
    Rows are the model's own, scaled or not as it leaves them. In float32 a row depends on the other rows by about
    1e-7 (padding); in half precision by its rounding. Batches are cut from the texts sorted by tokens:
    sentence-transformers sorts by characters, which pads a pool of many languages by 83 % in batches of 32, not by 7 %.
    """

    def __init__(
        self,
        model: str | Path | object,
        *,
        name: str | None = None,
        revision: str | None = None,
        device: str = "cpu",
        dtype: EncoderPrecision = "float32",
        trust_remote_code: bool = False,
        max_length: int | None = None,
        prompt: str | None = None,
        batch_size: int = 64,
    ) -> None:
        if batch_size < 1 or (max_length is not None and max_length < 1):
            raise InputError(f"an encoder needs batches and texts of at least 1: {batch_size=}, {max_length=}")
        if isinstance(model, str | Path):
            if name is not None:
                raise InputError(f"name={name!r} is for objects; the name of --model {model} is found by itself")
            folder, found = find_model(model, revision)
            self._what = f"--model {model}"
            if _is_static(folder):
                self._loaded = _static(self._what, folder, dtype, max_length, prompt)
            else:
                self._loaded = _transformer(self._what, folder, device, dtype, trust_remote_code, max_length, prompt)
        else:
            if revision is not None or max_length is not None:
                raise InputError("revision and max_length are for models by name; set them in your object")
            self._what = name or type(model).__name__
            found = {"name": self._what, "revision": None, "digest": _own_digest(model) if name is None else None}
            self._loaded = _object(self._what, model, prompt)
        self._batch_size = batch_size
        self.dim = 0
        self.dim = self._rows([self._loaded.prefix + "a text"], ["the first text"]).shape[1]
        self.identity: dict[str, Any] = {"model": found, **self._loaded.facts}

    def transform(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        """Return float32 (len(examples), dim).

        Raises
        ------
        InputError
            If the model gives anything but one finite row of `dim` numbers per text.
        """
        texts = [self._loaded.prefix + example.text for example in examples]
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        lengths = self._loaded.lengths
        whole = [np.arange(len(texts))] if texts else []
        for rows in _batches(lengths(texts), self._batch_size) if lengths else whole:
            out[rows] = self._rows([texts[k] for k in rows], [examples[k].where for k in rows])
        return out

    def _rows(self, texts: list[str], where: list[str]) -> NDArray[np.float32]:
        got = self._loaded.encode(texts)
        if hasattr(got, "detach"):
            got = got.detach().float().cpu()
        try:
            with np.errstate(over="ignore"):
                rows = np.asarray(got, dtype=np.float32)
        except (TypeError, ValueError):
            raise InputError(f"{self._what}: .encode gives no table of numbers; it should be (texts, dim)") from None
        if rows.ndim != 2 or len(rows) != len(texts) or not rows.shape[1]:
            raise InputError(f"{self._what}: .encode gives shape {rows.shape} for {len(texts)} texts, not (texts, dim)")
        if self.dim and rows.shape[1] != self.dim:
            raise InputError(f"{self._what}: .encode gives {rows.shape[1]} numbers a row, and gave {self.dim} before")
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            bad = where[int(np.argmin(finite))]
            raise InputError(f"{self._what}: the row of {bad} is not finite; use float32, or remove the example")
        return rows


def _transformer(
    what: str,
    folder: Path,
    device: str,
    dtype: EncoderPrecision,
    trust_remote_code: bool,
    max_length: int | None,
    prompt: str | None,
) -> _Loaded:
    try:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from transformers import PreTrainedTokenizerBase
    except ImportError as error:
        raise MissingExtraError(error.name or "sentence-transformers", "encoders", "an encoder") from None
    place = check_device(device)
    precision = _precision(dtype, place)
    _check_files(what, folder, trust_remote_code)
    try:
        with quiet_loading():
            model: Any = SentenceTransformer(
                str(folder),
                device=str(place),
                trust_remote_code=trust_remote_code,
                model_kwargs={"use_safetensors": True, "dtype": precision},
            )
    except (*_UNLOADABLE, SafetensorError) as error:
        raise InputError(f"{what} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    limit = model.max_seq_length
    if max_length is not None:
        most = _positions(folder)
        if most is not None and max_length > most:
            raise InputError(f"--max-length {max_length} is more than the {most} tokens that {what} can read")
        limit = model.max_seq_length = max_length
    if prompt is None:
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

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, prompt=prompt or None, batch_size=len(texts), show_progress_bar=False)

    return _Loaded(
        encode, lengths, _facts(str(precision).removeprefix("torch."), limit, prompt, "sentence-transformers")
    )


def _static(what: str, folder: Path, dtype: EncoderPrecision, max_length: int | None, prompt: str | None) -> _Loaded:
    try:
        from model2vec import StaticModel
        from safetensors import SafetensorError
    except ImportError as error:
        raise MissingExtraError(error.name or "model2vec", "encoders", "a static encoder") from None
    if dtype not in ("auto", "float32"):
        raise InputError(f"{what} is a table of word vectors in a precision of its own; leave --dtype {dtype} out")
    try:
        model = StaticModel.from_pretrained(folder)
    except (*_UNLOADABLE, SafetensorError) as error:
        raise InputError(f"{what} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    limit = max_length or getattr(model, "max_length", 512)

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, max_length=limit, use_multiprocessing=False)

    return _Loaded(encode, None, _facts("float32", limit, prompt, "model2vec"), prompt or "")


def _object(what: str, model: Any, prompt: str | None) -> _Loaded:
    if not callable(getattr(model, "encode", None)):
        raise InputError(f"{what} has no .encode(texts); give a model's name, its folder, or an object that has it")
    return _Loaded(
        model.encode, lambda texts: [len(text) for text in texts], _facts(None, None, prompt, "python"), prompt or ""
    )


def _facts(dtype: str | None, max_length: int | None, prompt: str | None, library: str) -> dict[str, Any]:
    return {"dtype": dtype, "max_length": max_length, "prompt": prompt or None, "library": library}


def _batches(lengths: list[int], most: int) -> Iterator[NDArray[np.int64]]:
    """Cut rows into batches of like lengths, longest first, so that one too large for memory is met at once."""
    sizes = np.array(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    at = 0
    while at < len(order):
        count = max(1, min(most, BATCH_TOKENS // max(1, int(sizes[order[at]]))))
        yield order[at : at + count]
        at += count


def _precision(dtype: EncoderPrecision, place: Any) -> Any:
    import torch

    cuda = place.type == "cuda"
    if dtype == "auto":
        return (torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16) if cuda else torch.float32
    if dtype not in ("float32", "bfloat16", "float16") or (dtype == "float16" and not cuda):
        raise InputError(f"--dtype {dtype} does not run on {place}; use float32, bfloat16 or auto")
    return getattr(torch, dtype)


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


def _is_static(folder: Path) -> bool:
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


def _own_digest(model: Any) -> Any:
    own = getattr(model, "identity", None) or getattr(model, "digest", None)
    own = own() if callable(own) else own
    try:
        return json.loads(json.dumps(own))
    except (TypeError, ValueError):
        raise InputError(f"the identity of {type(model).__name__} is not JSON; give name= for the encoder") from None
