"""The first pass over a pool, on whatever engine: what it leaves in a run's folder, and what is found there again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tasksift.config import RunConfig
from tasksift.engines.current import current, spread
from tasksift.features import FitSample
from tasksift.first_pass import Scan, ScannedSlice, sample_share, scan_in_parts
from tasksift.memory import estimate_rows
from tasksift.model_features import CONVERSATIONS, KEYS, KeyFile
from tasksift.progress import Progress
from tasksift.represent.copies import first_rows
from tasksift.represent.shard_jobs import Remote
from tasksift.rows import PoolFile, Scanned, TextReader, TokenCounter, scan
from tasksift.rows.slices import cut, load_slices, save_slices
from tasksift.scores import scored

SLICES = "slices.json"
"""Where a run on an engine keeps how the pool was cut."""

COLUMNS = ("id_column", "source_column", "group_column", "score_column")
"""The columns of a pool that a configuration may name."""


def survey_key(config: RunConfig) -> dict[str, bool]:
    """Return what a first pass leaves on an engine, by which work is handed out; nothing for the cores of this machine.

    A pass that left more serves as well, such as that of an engine for its workers.
    """
    if current() is None:
        return {}
    return {"slices": True, "conversations": True} if _by_model(config) else {"slices": True}


def survey_files(folder: Path) -> list[str]:
    """Return the names of the files that a first pass left in a folder for an engine, where one computes."""
    return [name for name in (SLICES, CONVERSATIONS) if current() is not None and (folder / name).exists()]


def survey(
    config: RunConfig,
    files: Sequence[PoolFile],
    counter: TokenCounter,
    folder: Path,
    see: Callable[[Scanned], None],
    progress: Progress,
) -> FitSample:
    """Read the whole pool once; keep the digests of its rows in the folder, and return the sample of its texts.

    Parameters
    ----------
    config : RunConfig
        Names the columns and the template.
    counter : TokenCounter
        Of the tokenizer that the configuration names, or of none.
    folder : Path
    see : callable
        Is shown the rows in their order, a batch at a time; on an engine without their texts.

    Raises
    ------
    InputError
        Whatever `tasksift.rows.scan` raises.
    """
    digests = KeyFile(folder / KEYS)
    columns = {name: getattr(config, name) for name in COLUMNS}
    rows = estimate_rows(files)
    with progress("reading the pool", rows or 0) as tick:

        def take(part: Scanned) -> None:
            digests.add(part.digests)
            see(part)
            tick(len(part.digests))

        if current() is None:
            sample = FitSample()
            for part in scan(files, TextReader(config.text_template), counter, **columns):
                sample.add(part.texts)
                take(part)
            return sample
        conversations = KeyFile(folder / CONVERSATIONS)
        asked = Scan(
            config.text_template,
            config.tokenizer,
            **columns,
            share=sample_share(rows),
            conversations=_by_model(config),
        )

        def take_slice(part: ScannedSlice) -> None:
            conversations.add([part.conversations])
            for some in part.batches():
                take(some)

        slices, sample = scan_in_parts(files, cut(files), asked, spread, take_slice)
        save_slices(folder / SLICES, slices)
        return sample


def remote_shards(config: RunConfig, files: Sequence[PoolFile], folder: Path) -> Remote | None:
    """Return where the shards of a store are made by the pool's first pass; None for this process."""
    engine = current()
    if engine is None or config.representation == "endpoint":  # one process asks a server, whose pace it keeps
        return None
    firsts = first_rows(KeyFile.load(folder / CONVERSATIONS)) if _by_model(config) else None
    return Remote(engine, load_slices(folder / SLICES, files), firsts)


def _by_model(config: RunConfig) -> bool:
    """Whether a model computes something of every row."""
    return config.representation not in (None, "tfidf") or scored(config)
