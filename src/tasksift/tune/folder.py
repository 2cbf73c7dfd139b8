"""The folder of a tune: it is worked on as `<out>.part`, goes on after a kill, and is renamed when complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasksift.errors import InputError
from tasksift.progress import Progress, silent
from tasksift.represent.chat import ChatTokens, Tokens
from tasksift.represent.checkpoint_files import FORMAT, RECORD
from tasksift.represent.checkpoints import Tuned, read_tuned
from tasksift.represent.models import CausalModel, Precision, check_device, load_causal
from tasksift.represent.store import differences, replace_json
from tasksift.rows import writing
from tasksift.rows.example import Example
from tasksift.tune.data import data_digest, sampled, trainable
from tasksift.tune.keeping import Step, last_complete
from tasksift.tune.saving import describe, write_checkpoint
from tasksift.tune.settings import Settings
from tasksift.tune.training import SAVE_EVERY, finetune, total_steps

REQUEST = "request.json"
TRAINER = "trainer"


def tune_rows(
    pool: Any,
    out: str | Path,
    *,
    model: str | Path,
    sample: str | int | None = None,
    text_template: str | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Tuned:
    """Tune a model on rows of a pool, all of them or a draw; see `sampled` for the rows and `tune` for the rest.

    The draw is seeded by ``settings.seed``.
    """
    settings = settings or Settings()
    examples = sampled(pool, sample=sample, seed=settings.seed, text_template=text_template)
    return tune(model, examples, out, settings, **options)


def tune(
    model: str | Path,
    examples: Iterable[Example],
    out: str | Path,
    settings: Settings | None = None,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: Precision = "float32",
    trust_remote_code: bool = False,
    save_every: int = SAVE_EVERY,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda line: None,
    force: bool = False,
) -> Tuned:
    """Train a causal model on examples and keep it, with Adam's moments, as it was at the end of each epoch.

    Parameters
    ----------
    model : str or Path
        A folder or a name on the hub, as in `load_causal`.
    examples : iterable of Example
        Those without any scored token are left out. The tokens of all are held in memory, 9 bytes each.
    out : str or Path
        The folder to write.
    settings : Settings, optional
        The defaults are those of LESS.
    revision, device, dtype, trust_remote_code
        As in `load_causal`. Whatever is trained is held in float32: in ``bfloat16`` adapters sit on a base of that
        type, and a full tune multiplies in it.
    save_every : int
        Steps between the points that a killed tune goes on from, besides the ends of epochs.
    progress, say : callable
        How steps are shown, and where lines go.
    force : bool
        Replace a folder that is there, and drop the work of a killed tune with other arguments.

    Returns
    -------
    Tuned

    Raises
    ------
    InputError
        If `out` is there, a killed tune with other arguments has left its work beside it, there is next to nothing to
        train on, or the model cannot be had.

    Notes
    -----
    A tune that was killed goes on where it was when it is asked for again, and ends with the same bytes of weights and
    moments on the same machine.
    """
    settings, out = settings or Settings(), Path(out)
    _check_out(out, force)
    place = check_device(device)
    autocast = settings.method == "full" and dtype == "bfloat16"
    loaded = load_causal(
        model,
        revision=revision,
        device=device,
        dtype="float32" if autocast else dtype,
        trust_remote_code=trust_remote_code,
    )
    coder = ChatTokens(loaded.tokenizer, settings.max_length, score=settings.score)
    tokens = trainable(examples, coder, say)
    request: dict[str, Any] = {
        "format": FORMAT,
        "model": loaded.identity,
        "tokens": coder.identity,
        "settings": settings.as_json,
        "dtype": dtype,
        "rows": len(tokens),
        "data": data_digest(tokens),
    }
    part = out.with_name(out.name + ".part")
    with writing(out):
        _prepare(part, request, force, say)
        if not (part / RECORD).exists():
            total = total_steps(len(tokens), settings)
            say(f"tuning on {len(tokens):,} rows: {total:,} steps, {settings.method}, {device}, {dtype}")
            options = {"device": place, "save_every": save_every, "progress": progress}
            try:
                made = _train(part, loaded, tokens, settings, autocast, options, say)
            except BaseException:
                if last_complete(part / TRAINER) is None:
                    shutil.rmtree(part)
                raise
            path = str(Path(model).resolve()) if Path(model).is_dir() else None
            versions = {name: version(name) for name in ("torch", "transformers", "peft")}
            facts = {"model": {**loaded.identity, "path": path}, "versions": versions}
            replace_json(part / RECORD, {**request, **facts, **made})
        shutil.rmtree(part / TRAINER, ignore_errors=True)
        if out.is_dir():
            shutil.rmtree(out)
        part.rename(out)
        (out / REQUEST).unlink()
    return read_tuned(out)


def _check_out(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise InputError(f"{out} exists; use --force to replace it, or name another folder")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file()):
        raise InputError(f"{out} is no tune, so not even --force replaces it; name another folder")


def _prepare(part: Path, request: dict[str, Any], force: bool, say: Callable[[str], None]) -> None:
    """Make the folder to work in, or find the work of a killed tune with the same request there."""
    part.mkdir(parents=True, exist_ok=True)
    try:
        there = json.loads((part / REQUEST).read_bytes())
    except FileNotFoundError:
        if any(path.suffix != ".part" for path in part.iterdir()):  # these are what a kill leaves of the request
            raise InputError(f"{part} is where the tune works, and it holds other things; move it away") from None
        there = None
    except ValueError:
        there = {}
    request = json.loads(json.dumps(request))
    if there == request:
        say(f"going on with what {part} holds")
        return
    if there is not None:
        worth = last_complete(part / TRAINER) is not None or (part / RECORD).exists()
        if worth and not force:
            named = "; ".join(differences(there if isinstance(there, dict) else {}, request).values())
            raise InputError(
                f"{part} holds the work of a killed tune with other arguments ({named}); "
                "give those to go on, or --force to drop it"
            )
        shutil.rmtree(part)
        part.mkdir()
    replace_json(part / REQUEST, request)


def _train(
    part: Path,
    loaded: CausalModel,
    tokens: list[Tokens],
    settings: Settings,
    autocast: bool,
    options: Mapping[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train, write the checkpoints, and return what the record says of them."""

    def at_epoch(epoch: int, step: int, model: Any, optimizer: Any, steps: list[Step]) -> None:
        write_checkpoint(part / f"epoch-{epoch}", model, loaded.tokenizer, optimizer, step)
        say(f"epoch {epoch}: step {step:,}, loss {steps[-1].loss:.4f}")

    trained = finetune(
        loaded.model, tokens, settings, autocast=autocast, folder=part / TRAINER, at_epoch=at_epoch, **options
    )
    names = [name for name, parameter in trained.model.named_parameters() if parameter.requires_grad]
    return {"parameters": names, "checkpoints": describe(part, trained.steps)}
