"""Checkpoints of a tune: what is read is what the training model was, and what does not fit is refused."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from small_models import make_examples, make_gpt2, make_llama, save  # noqa: E402

from tasksift.errors import InputError  # noqa: E402
from tasksift.represent.chat import ChatTokens  # noqa: E402
from tasksift.represent.checkpoints import apply, load_tuned, read_all, read_tuned, tuned_folders  # noqa: E402
from tasksift.represent.forward import batches, predict  # noqa: E402
from tasksift.represent.models import load_causal  # noqa: E402
from tasksift.represent.preconditioner import adam_direction  # noqa: E402
from tasksift.tune import Settings, finetune, tune  # noqa: E402

pytestmark = pytest.mark.usefixtures("short_collections")


SETTINGS = {"rank": 2, "alpha": 4, "batch_size": 4, "epochs": 2, "learning_rate": 1e-2, "max_length": 48}


def make(kind, folder):
    """Tune a model; return its folder and the tune."""
    model = {"lora": make_llama, "full": lambda: make_llama(tied=True), "gpt2": make_gpt2}[kind]()
    base = save(folder / "base", model)
    method = "full" if kind == "full" else "lora"
    return base, tune(base, make_examples(8), folder / "tuned", Settings(**SETTINGS, method=method))


@pytest.fixture(scope="module", params=["lora", "full", "gpt2"])
def made(request, tmp_path_factory):
    return make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return make("lora", tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def copy(adapter, tmp_path):
    """A tune that a test may damage."""
    return shutil.copytree(adapter[1].folder, tmp_path / "tuned")


def tokens_of(base):
    coder = ChatTokens(load_causal(base).tokenizer, 48)
    return [coder.encode(example) for example in make_examples(8)]


def logits(model, tokens):
    with torch.no_grad():
        return torch.cat([predict(model, batch).logits for batch in batches(tokens)])


def test_each_checkpoint_predicts_as_the_training_model_did_at_that_time(made):
    base, tuned = made
    tokens = tokens_of(base)
    at_the_time = []

    def at_epoch(epoch, step, model, optimizer, steps):
        model.eval()
        at_the_time.append(logits(model, tokens))
        model.train()

    settings = Settings(**SETTINGS, method="lora" if tuned.is_adapter else "full")
    finetune(load_causal(base).model, tokens, settings, at_epoch=at_epoch)
    loaded = load_tuned(tuned)
    assert loaded.identity == load_causal(base).identity
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert torch.equal(logits(loaded.model, tokens), at_the_time[-1])
    for k in (0, 1, 0):
        apply(loaded.model, tuned.checkpoints[k])
        assert torch.equal(logits(loaded.model, tokens), at_the_time[k])
    assert not torch.equal(at_the_time[0], at_the_time[1])


def test_weights_and_moments_go_by_the_names_of_the_model(made):
    _, tuned = made
    own = dict(load_tuned(tuned).model.named_parameters())
    for checkpoint in tuned.checkpoints:
        weights, (first, second) = checkpoint.weights(), checkpoint.moments()
        assert weights.keys() == first.keys() == second.keys() == set(checkpoint.parameters)
        assert all(weights[name].shape == first[name].shape == own[name].shape for name in weights)
        assert all((second[name] >= 0).all() for name in weights)
    if tuned.is_adapter:
        assert all(".lora_" in name for name in tuned.checkpoints[0].parameters)
    else:
        assert own.keys() == set(tuned.checkpoints[0].parameters)


def test_the_next_step_follows_from_a_checkpoint(made):
    """The moments, their names and their step: what Adam does next is told from the files alone."""
    base, tuned = made
    checkpoint = tuned.checkpoints[0]
    weights, (first, second) = checkpoint.weights(), checkpoint.moments()
    model = load_tuned(tuned).model
    apply(model, checkpoint)
    names = checkpoint.parameters
    parameters = [dict(model.named_parameters())[name].requires_grad_(True) for name in names]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.0)
    state = {
        k: {"step": torch.tensor(float(checkpoint.step)), "exp_avg": first[name], "exp_avg_sq": second[name]}
        for k, name in enumerate(names)
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    before = [(first[name].clone(), second[name].clone()) for name in names]
    batch = next(batches(tokens_of(base)))
    said = predict(model, batch)
    torch.nn.functional.cross_entropy(said.logits, said.labels).backward()
    optimizer.step()
    for name, parameter, (m, v) in zip(names, parameters, before, strict=True):
        step = adam_direction(parameter.grad[None].clone(), m, v, checkpoint.step)[0]
        torch.testing.assert_close(parameter.detach(), weights[name] - step, rtol=1e-4, atol=1e-5)


def test_adapters_stay_in_float32_on_a_base_in_bfloat16(adapter):
    _, tuned = adapter
    model = load_tuned(tuned, dtype="bfloat16").model
    kinds = {".lora_" in name: parameter.dtype for name, parameter in model.named_parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_a_base_that_changed_or_moved(adapter, tmp_path):
    base, tuned = adapter
    moved = shutil.copytree(base, tmp_path / "moved")
    assert load_tuned(tuned, base=moved).identity == load_causal(base).identity
    make_llama(seed=1).save_pretrained(moved)
    with pytest.raises(InputError, match="not the model that"):
        load_tuned(tuned, base=moved)
    with pytest.raises(InputError, match="no such folder"):
        load_tuned(tuned, base=tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "moments.safetensors"])
def test_a_damaged_file_is_found_when_it_is_read(copy, name):
    path = copy / "epoch-1" / name
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    tuned = read_tuned(copy)
    read = tuned.checkpoints[0].moments if name.startswith("moments") else tuned.checkpoints[0].weights
    with pytest.raises(InputError, match=r"epoch-1 are damaged"):
        read()
    path.unlink()
    with pytest.raises(InputError, match="epoch-1"):
        read()
    tuned.checkpoints[1].weights()


def test_a_checkpoint_of_another_model_is_refused(adapter):
    base, tuned = adapter
    with pytest.raises(InputError, match="does not fit the model"):
        apply(load_causal(base).model, tuned.checkpoints[0])


def test_folders_that_are_no_tune_are_refused(copy, tmp_path):
    with pytest.raises(InputError, match="nowhere is not there"):
        read_tuned(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no tune\.json"):
        read_tuned(tmp_path / "empty")
    record = json.loads((copy / "tune.json").read_text())
    for changed, named in (
        ("{", "damaged"),
        ({**record, "format": "tasksift tune 9"}, "not of the format 'tasksift tune 1'"),
        ({**record, "checkpoints": []}, "damaged"),
        ({**record, "checkpoints": [{**record["checkpoints"][0], "folder": "../epoch-1"}]}, "damaged"),
        ({key: value for key, value in record.items() if key != "parameters"}, "damaged"),
        ({**record, "settings": []}, "damaged"),
    ):
        (copy / "tune.json").write_text(changed if isinstance(changed, str) else json.dumps(changed))
        with pytest.raises(InputError, match=named):
            read_tuned(copy)
    (copy / "tune.json").write_text(json.dumps(record))
    shutil.rmtree(copy / "epoch-2")
    with pytest.raises(InputError, match="epoch-2 is missing"):
        read_tuned(copy)


def test_several_tunes_of_one_model_are_one(copy, tmp_path):
    other = shutil.copytree(copy, tmp_path / "other")
    rename = json.loads((other / "tune.json").read_text())
    rename["checkpoints"] = rename["checkpoints"][:1]
    (other / "tune.json").write_text(json.dumps(rename))
    both = read_all(f"{copy}, {other}")
    folders = [*(copy / f"epoch-{k}" for k in (1, 2)), other / "epoch-1"]
    assert [each.folder for each in both.checkpoints] == folders
    assert (both.folder, both.record) == (read_tuned(copy).folder, read_tuned(copy).record)
    assert both.checkpoints[2].weights().keys() == both.checkpoints[0].weights().keys()
    loaded = load_tuned(both)
    for name, value in both.checkpoints[-1].weights().items():
        assert torch.equal(dict(loaded.model.named_parameters())[name], value)
    assert [each.folder for each in read_all(str(copy)).checkpoints] == folders[:2]


def test_a_folder_with_a_comma_in_its_name_is_one(copy, tmp_path):
    moved = copy.rename(tmp_path / "a,b")
    assert tuned_folders(str(moved)) == [str(moved)]
    assert len(read_all(str(moved)).checkpoints) == 2
    assert tuned_folders("one, two,three") == ["one", "two", "three"]


@pytest.mark.parametrize("what", ["models", "methods", "parameters"])
def test_tunes_that_do_not_belong_together(copy, tmp_path, what):
    other = shutil.copytree(copy, tmp_path / "other")
    record = json.loads((other / "tune.json").read_text())
    if what == "models":
        record["model"]["digest"] = "f" * 16
    elif what == "methods":
        record["settings"]["method"] = "full"
    else:
        record["parameters"] = record["parameters"][1:]
    (other / "tune.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"--checkpoints: .*tuned and .*other are tunes of different {what}$"):
        read_all(f"{copy},{other}")
    with pytest.raises(InputError, match="nowhere is not there, so it is no finished tune"):
        read_all(f"{copy},{tmp_path / 'nowhere'}")
