"""Which parameters gradients are of."""

import pytest
from small_models import make_gpt2, make_llama

from tasksift.errors import InputError
from tasksift.represent.parameters import choose_parameters

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


def test_parameters_are_chosen():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, target_modules=["q_proj", "v_proj", "down_proj"])
    lora = peft.get_peft_model(make_llama(), config)
    llama = choose_parameters(make_llama())
    assert len(llama) == 2 * 7
    assert all(name.startswith("model.layers.") and name.endswith("proj.weight") for name in llama)
    assert [name.split(".", 3)[3] for name in choose_parameters(make_gpt2(layers=1))] == [
        "attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight",
    ]  # fmt: skip
    assert choose_parameters(make_llama(), "all") == [name for name, _ in make_llama().named_parameters()]
    assert choose_parameters(make_llama(), r"layers\.1\..*norm") == [
        "model.layers.1.input_layernorm.weight", "model.layers.1.post_attention_layernorm.weight",
    ]  # fmt: skip
    assert all(".lora_" in name for name in choose_parameters(lora))
    assert len(choose_parameters(lora, "linear")) == 2 * 7
    for params, says in {
        "lora": "the model has no adapters; there are 21, as model.embed_tokens.weight",
        "nothing": "no parameter of the model fits; there are 21",
        "(": "is no regular expression",
    }.items():
        with pytest.raises(InputError, match=says):
            choose_parameters(make_llama(), params)
