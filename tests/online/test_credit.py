"""What each example of a batch gave: by hand, from what autograd keeps, and from what a model returns."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from small_models import make_gpt2, make_llama  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.online import credit as module  # noqa: E402
from tasksift.online.credit import by_example, whole_batch  # noqa: E402

MODELS = {"llama": make_llama, "gpt2": make_gpt2}


def batch(seed=0, rows=5, length=9):
    """Ids, and labels with prompts and padding that are not scored."""
    torch.manual_seed(seed)
    ids = torch.randint(0, 400, (rows, length))
    labels = ids.clone()
    labels[:, :2] = -100
    labels[1, 5:] = -100
    labels[3, 1] = ids[3, 1]
    return {"input_ids": ids, "labels": labels}


def by_hand(logits, labels):
    """Mean loss and scored tokens of each example, token by token."""
    means, counts = [], []
    for row in range(len(labels)):
        losses = [
            -torch.log_softmax(logits[row, t - 1].float(), 0)[labels[row, t]].item()
            for t in range(1, labels.shape[1])
            if labels[row, t] != -100
        ]
        means.append(sum(losses) / len(losses))
        counts.append(float(len(losses)))
    return means, counts


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("divided", [False, True])
def test_examples_get_the_mean_of_their_own_tokens(name, dtype, divided):
    model, inputs = MODELS[name]().to(dtype), batch()
    if divided:
        inputs["num_items_in_batch"] = torch.tensor(77)
    output = model(**inputs)
    found = by_example(inputs, output, check=True)
    means, counts = by_hand(output.logits.detach(), inputs["labels"])
    assert torch.allclose(found.values, torch.tensor(means), rtol=1e-5)
    assert found.tokens.tolist() == counts
    whole = whole_batch(inputs, output)
    assert whole.tokens.item() == sum(counts)
    assert whole.values.item() == pytest.approx(
        sum(m * n for m, n in zip(means, counts, strict=True)) / sum(counts), rel=1e-5
    )


def test_the_softmax_of_the_models_own_loss_is_read_and_not_computed_again(monkeypatch):
    model, inputs = make_llama(), batch()
    output = model(**inputs)
    expected = by_example(inputs, output)
    monkeypatch.setattr(module, "_nll", None)
    found = by_example(inputs, output)
    assert torch.equal(found.values, expected.values)


def test_without_a_softmax_to_read_one_more_pass_gives_the_same():
    model, inputs = make_llama(), batch()
    output = model(**inputs)
    read = by_example(inputs, output)
    with torch.no_grad():
        bare = model(**inputs)
    assert torch.allclose(by_example(inputs, bare).values, read.values, rtol=1e-5)


def test_nothing_of_the_graph_is_held():
    model, inputs = make_llama(), batch()
    found = by_example(inputs, model(**inputs))
    assert not found.values.requires_grad
    assert not whole_batch(inputs, model(**inputs)).values.requires_grad


def test_an_example_without_a_scored_token_has_none():
    model, inputs = make_llama(), batch()
    inputs["labels"][2] = -100
    found = by_example(inputs, model(**inputs), check=True)
    assert found.tokens[2] == 0
    assert found.values[2] == 0


def test_labels_that_are_not_shifted_and_labels_of_whole_rows():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 4, 7), torch.randint(0, 7, (3, 4))
    labels[0, 3] = -100
    found = by_example({"labels": labels}, {"logits": logits}, causal=False)
    own = torch.nn.functional.cross_entropy(logits[1], labels[1])
    assert found.values[1] == pytest.approx(own.item(), rel=1e-6)
    assert found.tokens.tolist() == [3, 4, 4]
    shifted = by_example({"labels": None, "shift_labels": labels}, {"logits": logits})
    assert torch.equal(shifted.values, found.values)
    classes = by_example({"labels": labels[1:, 0]}, {"logits": logits[1:, 0]})
    assert torch.allclose(
        classes.values, torch.nn.functional.cross_entropy(logits[1:, 0], labels[1:, 0], reduction="none")
    )


def test_a_classifier_with_a_loss_of_its_own():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4, requires_grad=True), torch.randint(0, 4, (6,))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    found = by_example({"labels": labels}, {"logits": logits, "loss": loss}, check=True)
    assert torch.allclose(found.values, torch.nn.functional.cross_entropy(logits, labels, reduction="none"))


def test_norms_are_those_of_the_gradient_with_respect_to_the_logits():
    model, inputs = make_llama(), batch()
    output = model(**inputs)
    output.logits.retain_grad()
    output.loss.backward()
    scored = float((inputs["labels"][:, 1:] != -100).sum())
    lengths = output.logits.grad.norm(dim=2) * scored
    found = by_example(inputs, output, norms=True)
    mask = (inputs["labels"][:, 1:] != -100).float()
    assert torch.allclose(found.values, (lengths[:, :-1] * mask).sum(1) / mask.sum(1), rtol=1e-4)


def test_log_probabilities_of_a_fused_layer_are_taken_as_they_are():
    torch.manual_seed(0)
    log_probs, mask = -torch.rand(3, 5), torch.rand(3, 5) > 0.3
    output = {"log_probs": log_probs * mask, "label_mask": mask, "loss": -(log_probs * mask).sum() / mask.sum()}
    found = by_example({"labels": None}, output)
    assert torch.allclose(found.values, -(log_probs * mask).sum(1) / mask.sum(1))
    assert found.tokens.tolist() == mask.sum(1).tolist()


def test_a_loss_with_other_parts_is_refused():
    model, inputs = make_llama(), batch()
    output = model(**inputs)
    output["loss"] = output["loss"] + 3
    with pytest.raises(InputError, match=r"average to .* and the model's loss is .*batches='single'"):
        by_example(inputs, output, check=True)


def test_what_cannot_be_told_apart_is_refused_in_one_line():
    model, inputs = make_llama(), batch()
    output = model(**inputs)
    with pytest.raises(InputError, match="the model has no labels"):
        by_example({"input_ids": inputs["input_ids"]}, output)
    with pytest.raises(InputError, match="the model has no logits"):
        by_example(inputs, {"loss": output.loss})
    with pytest.raises(InputError, match="do not fit logits of shape"):
        by_example({"labels": inputs["labels"][:2]}, output)
    with pytest.raises(InputError, match="returns no loss"):
        whole_batch(inputs, {"logits": output.logits})
