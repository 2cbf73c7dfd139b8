"""Online data mixing in a training loop of your own: a small network reads the standard library, byte by byte.

    python examples/online_loop.py --out run
    python examples/online_loop.py --out run --resume      goes on from the last checkpoint in run

It needs PyTorch and nothing else. The sampler is told the loss of every row (observe) and the end of each step
(update). What a training on several GPUs adds stands in comments that begin with DDP.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from tasksift.demo_pool import docstrings, standard_library
from tasksift.online import History, OnlineSampler
from tasksift.progress import silent

PACKAGES = ("asyncio", "email", "logging", "tkinter", "unittest")
LENGTH, PADDING = 128, 256


class Numbered(torch.utils.data.Dataset):
    """Rows with their numbers, so that a batch says whose losses it gives."""

    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, row):
        text = list(self.texts[row].encode()[:LENGTH])
        return row, torch.tensor(text + [PADDING] * (LENGTH - len(text)))


class Reader(nn.Module):
    """Predicts the next byte."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(257, 64)
        self.memory = nn.GRU(64, 128, batch_first=True)
        self.out = nn.Linear(128, 257)

    def forward(self, text):
        """Return the mean loss of every row, (b,), and the number of bytes that it is over, (b,)."""
        logits = self.out(self.memory(self.embed(text[:, :-1]))[0])
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), text[:, 1:], reduction="none")
        counted = text[:, 1:] != PADDING
        return (losses * counted).sum(1) / counted.sum(1), counted.sum(1)


def main():
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="online_loop", type=Path, help="folder of the run")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mode", default="released", help="released, paper, uniform, proportional or stratified")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    rows = [(name, row["text"]) for name in PACKAGES for row in docstrings(standard_library() / name, silent)]
    train, held_out = [row for k, row in enumerate(rows) if k % 10], rows[::10]

    torch.manual_seed(0)
    model = Reader()  # DDP: DistributedDataParallel(Reader().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    sampler = OnlineSampler(
        domains=[name for name, _ in train],
        batch_size=16,
        accumulation=2,
        # DDP: rank=torch.distributed.get_rank(), ranks=torch.distributed.get_world_size(),
        # With worker processes: delay=ceil(num_workers * prefetch_factor / accumulation).
        mode=args.mode,
        seed=0,
    )
    loader = DataLoader(Numbered([text for _, text in train]), batch_size=16, sampler=sampler)

    checkpoint = args.out / "checkpoint.pt"
    if args.resume:
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        sampler.load_state_dict(json.loads(kept["sampler"]))
    history = History(args.out / "mixture.jsonl", sampler.domains, sampler.about)  # DDP: on rank 0 only
    history.begin(sampler.step)

    model.train()
    while sampler.step < args.steps:
        waiting = 0
        for numbers, text in loader:  # an epoch, or the rest of one
            losses, counts = model(text)
            micro_batches = len(sampler.own(sampler.step))  # 2, and at the end of an epoch perhaps 1
            (losses.mean() / micro_batches).backward()
            sampler.observe(numbers, losses.detach().cpu(), counts.cpu())
            waiting += 1
            if waiting < micro_batches:
                continue
            optimizer.step()
            optimizer.zero_grad()
            sampler.update()  # DDP: sampler.update(tasksift.online.summed), which adds up over the ranks
            waiting = 0

            if sampler.step % max(1, args.steps // 30) == 0:
                history.append(sampler.step, sampler.probabilities(), sampler.losses, sampler.served)
            if sampler.step % max(1, args.steps // 3) == 0 or sampler.step == args.steps:
                # DDP: on rank 0 only. The sampler's state is plain JSON, the same on all ranks.
                parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                parts["sampler"] = json.dumps(sampler.state_dict())
                torch.save(parts, checkpoint.with_name("checkpoint.part"))
                checkpoint.with_name("checkpoint.part").replace(checkpoint)  # whole or not at all, if a kill comes
            if sampler.step == args.steps:
                break

    model.eval()
    print(f"{'domain':12}{'rows':>6}{'drawn':>7}{'probability':>13}{'held-out loss':>15}")
    for k, name in enumerate(sampler.domains.names):
        texts = Numbered([text for source, text in held_out if source == name])
        with torch.no_grad():
            losses, counts = model(torch.stack([text for _, text in texts]))
        loss = (losses * counts).sum() / counts.sum()
        drawn, probability = sampler.served[k], sampler.probabilities()[k]
        print(f"{name:12}{sampler.domains.sizes[k]:6}{drawn:7}{probability:13.3f}{loss:15.3f}")
    print(f"\ncheckpoint {checkpoint}, mixture step by step in {history.path}")


if __name__ == "__main__":
    main()
