import builtins
import json
import shutil
import subprocess
import sys

import pytest
from small_models import CHATML, make_gpt2, make_llama, make_tokenizer, save

from tasksift.errors import InputError, MissingExtraError
from tasksift.represent.models import (
    check_device,
    find_model,
    folder_digest,
    load_causal,
    model_length,
    need_models,
    quiet_loading,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    with quiet_loading():
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "tiny", chat_template=CHATML)


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_comes_back_as_it_was_saved(saved):
    causal = load_causal(saved)
    ids = torch.arange(10)[None]
    torch.testing.assert_close(causal.model(ids).logits, make_llama()(ids).logits)
    assert not causal.model.training
    assert not any(parameter.requires_grad for parameter in causal.model.parameters())
    assert causal.model.dtype == torch.float32
    assert causal.tokenizer("some text")["input_ids"] == make_tokenizer()("some text")["input_ids"]
    assert causal.tokenizer.chat_template == CHATML
    assert causal.identity == {"name": "tiny", "revision": None, "digest": folder_digest(saved)}


@pytest.mark.parametrize("make", [lambda: make_llama(tied=True), make_gpt2])
def test_tied_embeddings_lack_nothing(make, tmp_path):
    causal = load_causal(save(tmp_path / "tied", make()))
    torch.testing.assert_close(causal.model(torch.arange(9)[None]).logits, make()(torch.arange(9)[None]).logits)


def test_precision(saved):
    assert load_causal(saved, dtype="bfloat16").model.dtype == torch.bfloat16
    half = make_llama().to(torch.bfloat16)
    with quiet_loading():
        save(saved.parent / "half", half)
    assert load_causal(saved.parent / "half").model.dtype == torch.float32


def test_pickles_are_not_read(copied):
    (copied / "model.safetensors").unlink()
    torch.save(make_llama().state_dict(), copied / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"holds no \*\.safetensors; save the model with safetensors"):
        load_causal(copied)


def test_code_of_strangers_does_not_run(copied):
    change_config(copied, model_type="stranger", auto_map={"AutoConfig": "odd.Config", "AutoModelForCausalLM": "odd.M"})
    (copied / "odd.py").write_text("raise SystemExit('ran')")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_causal(copied)


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_damaged_weights(copied, content):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputError, match="copy cannot be loaded: "):
        load_causal(copied)


def test_a_model_without_its_output_layer(tmp_path):
    with quiet_loading():
        folder = save(tmp_path / "headless", make_llama().model)
    with pytest.raises(InputError, match=r"lacks weights of a causal language model .*lm_head\.weight"):
        load_causal(folder)


def test_an_encoder_is_no_causal_model(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    with pytest.raises(InputError, match="lacks weights of a causal language model"):
        load_causal(save(tmp_path / "encoder", BertModel(config)))


def test_weights_of_another_shape(copied):
    change_config(copied, vocab_size=500)
    with pytest.raises(InputError, match=r"in another shape .*embed_tokens\.weight"):
        load_causal(copied)


@pytest.mark.parametrize("changes", [{"model_type": "unheard-of"}, {"model_type": "t5"}])
def test_models_that_transformers_does_not_know(copied, changes):
    change_config(copied, **changes)
    with pytest.raises(InputError, match="cannot be loaded") as error:
        load_causal(copied)
    assert "\n" not in str(error.value)


def test_a_folder_that_lacks_something(copied):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_causal(copied)
    (copied / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_causal(copied)


@pytest.mark.parametrize("name", ["../nowhere", "/no/where", "a/b/c", "./x"])
def test_no_such_folder(name):
    with pytest.raises(InputError, match=rf"--model {name}: there is no such folder"):
        find_model(name)


def test_a_revision_is_for_the_hub(saved):
    with pytest.raises(InputError, match="--revision main is for hub models"):
        load_causal(saved, revision="main")


def test_models_of_the_hub(saved, monkeypatch):
    asked = []

    def fetch(name, *, revision, allow_patterns):
        asked.append((name, revision, set(allow_patterns)))
        return str(saved)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    causal = load_causal("someone/tiny", revision="v1")
    assert causal.identity == {"name": "someone/tiny", "revision": "tiny", "digest": folder_digest(saved)}
    name, revision, patterns = asked[0]
    assert (name, revision) == ("someone/tiny", "v1")
    assert {"*.safetensors", "*.json"} <= patterns
    assert not patterns & {"*.bin", "*.pt", "*.pkl", "*.h5", "*.py"}
    load_causal("someone/tiny", trust_remote_code=True)
    assert asked[-1] == ("someone/tiny", None, patterns | {"*.py"})


def test_a_hub_that_has_it_not(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(*args, **options):
        raise LocalEntryNotFoundError("no network\nhere")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(InputError, match=r"--model someone/tiny: neither a folder nor .* \(no network here\)"):
        load_causal("someone/tiny")


def test_the_digest_is_that_of_names_and_bytes(copied, tmp_path):
    whole = folder_digest(copied)
    (copied / "README.md").write_text("not part of it")
    (copied / ".cache").mkdir()
    (copied / ".cache" / "x.json").write_text("{}")
    assert folder_digest(copied) == whole == folder_digest(shutil.copytree(copied, tmp_path / "elsewhere"))
    (copied / "tokenizer.json").rename(copied / "other.json")
    renamed = folder_digest(copied)
    (copied / "other.json").rename(copied / "tokenizer.json")
    assert folder_digest(copied) == whole != renamed
    bits = bytearray((copied / "model.safetensors").read_bytes())
    bits[-1] ^= 1
    (copied / "model.safetensors").write_bytes(bits)
    assert folder_digest(copied) != whole


def test_code_counts_where_it_may_run(copied):
    whole = folder_digest(copied)
    (copied / "odd.py").write_text("x = 1")
    assert find_model(copied)[1]["digest"] == whole == load_causal(copied).identity["digest"]
    one = folder_digest(copied, code=True)
    assert find_model(copied, code=True)[1]["digest"] == one
    assert load_causal(copied, trust_remote_code=True).identity["digest"] == one
    (copied / "odd.py").write_text("x = 2")
    assert folder_digest(copied) == whole
    assert len({whole, one, folder_digest(copied, code=True)}) == 3


def test_trusted_code_runs(copied, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = "from transformers import LlamaConfig, LlamaForCausalLM\n\n\n"
    code += "class C(LlamaConfig):\n    model_type = 'stranger'\n\n\nclass M(LlamaForCausalLM):\n    config_class = C\n"
    (copied / "odd.py").write_text(code)
    change_config(copied, model_type="stranger", auto_map={"AutoConfig": "odd.C", "AutoModelForCausalLM": "odd.M"})
    causal = load_causal(copied, trust_remote_code=True)
    assert type(causal.model).__name__ == "M"
    torch.testing.assert_close(causal.model(torch.arange(9)[None]).logits, make_llama()(torch.arange(9)[None]).logits)
    assert model_length(copied, trust_remote_code=True) == 256
    with pytest.raises(InputError, match="cannot be loaded"):
        model_length(copied)
    (copied / "odd.py").write_text("import no_such_package\n" + code)
    with pytest.raises(InputError, match=r"cannot be loaded: .*no_such_package"):
        load_causal(copied, trust_remote_code=True)


def test_devices():
    assert check_device("cpu").type == "cpu"
    for device in ("graphics", "cuda:x"):
        with pytest.raises(InputError, match=f"--device {device} is no device; use cpu, cuda or cuda:N"):
            check_device(device)
    with pytest.raises(InputError, match="--device meta is not supported"):
        check_device("meta")
    count = torch.cuda.device_count()
    with pytest.raises(InputError, match=f"--device cuda:{count}: PyTorch sees {count} GPUs here; use --device cpu"):
        check_device(f"cuda:{count}")


def test_without_transformers(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "transformers":
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"^a test needs .*'transformers': pip install 'tasksift\[models\]'"):
        need_models("a test")


def test_importing_loads_neither_torch_nor_transformers():
    names = ["models", "chat", "forward", "hidden", "loss", "token_scores"]
    code = "import sys\n" + "".join(f"import tasksift.represent.{name}\n" for name in names)
    code += "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_quiet_loading_leaves_the_bars_as_they_were():
    from transformers.utils import logging

    logging.enable_progress_bar()
    with quiet_loading():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    with quiet_loading():
        pass
    assert not logging.is_progress_bar_enabled()
