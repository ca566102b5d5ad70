"""Nothing that a model's files bring is run: each road is tried with a file that would leave a mark."""

import builtins
import json
import shutil
import signal

import numpy as np
import open_clip
import pytest
import torch
from model_files import edit

from sktip import CLIPFeatureTransformer, TipAdapterClassifier, clear_model_cache
from sktip._encoding import trust
from sktip._encoding.clip import weights_of
from sktip._encoding.session import open_encoder
from sktip.exceptions import ModelLoadError

CONFIG = trust.CONFIG


def load(model_name, pretrained=None):
    return CLIPFeatureTransformer(model_name, pretrained, device="cpu").encode_text(["cat", "dog"])


@pytest.fixture
def trap(tmp_path_factory, monkeypatch):
    """Write a module that leaves a mark if it is run, or if the user is asked whether to run it."""
    mark = tmp_path_factory.mktemp("mark") / "ran"

    def ask(*args):
        mark.touch()
        return "y"

    monkeypatch.setattr(builtins, "input", ask)
    # So that an answer is waited for wherever the test runs.
    monkeypatch.setattr(signal, "alarm", lambda seconds: 0)

    def set_in(folder):
        (folder / "custom.py").write_text(CODE.format(mark=str(mark)))

    yield set_in
    assert not mark.exists()


#: A module that leaves a mark. Class names are unique, since transformers remembers modules that it has run.
CODE = """
import pathlib, transformers
pathlib.Path({mark!r}).touch()
class Config(transformers.BertConfig): ...
class Model(transformers.BertModel): ...
class Tokenizer(transformers.PreTrainedTokenizerFast): ...
"""


def text(folder, **settings):
    """Change the settings of the text tower."""
    return edit(folder / CONFIG, lambda config: config["model_cfg"]["text_cfg"].update(settings))


def test_the_mark_is_left_where_the_code_is_run(with_tokenizer, tmp_path):
    # By transformers itself, so that the tests below would notice.
    transformers = pytest.importorskip("transformers")
    mark = tmp_path / "ran"
    (with_tokenizer / "custom.py").write_text(CODE.format(mark=str(mark)))
    auto_map = {"AutoTokenizer": [None, "custom.Tokenizer"]}
    edit(with_tokenizer / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map))
    transformers.AutoTokenizer.from_pretrained(with_tokenizer, trust_remote_code=True)
    assert mark.exists()


class TestTokenizer:
    @pytest.mark.parametrize("asked", [True, False])
    def test_its_arguments_ask_for_code(self, with_tokenizer, trap, asked):
        trap(with_tokenizer)
        auto_map = {"AutoTokenizer": [None, "custom.Tokenizer"]}
        edit(with_tokenizer / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map))
        path = text(with_tokenizer, tokenizer_kwargs={"trust_remote_code": asked})
        with pytest.raises(ModelLoadError) as caught:
            load(f"local-dir:{with_tokenizer}")
        assert str(path) in str(caught.value)
        assert "text_cfg.tokenizer_kwargs.trust_remote_code" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "key", "value"),
        [
            ("tokenizer_config.json", "auto_map", {"AutoTokenizer": [None, "custom.Tokenizer"]}),
            ("tokenizer_config.json", "trust_remote_code", True),
            ("tokenizer_config.json", "tokenizer_class", "custom.Tokenizer"),
            ("config.json", "tokenizer_class", "TransfoXLTokenizer"),
            ("config.json", "model_type", "rag"),
            ("config.json", "configuration_files", ["config.1.0.0.json"]),
            ("config.1.0.0.json", "auto_map", {"AutoConfig": "custom.Config"}),
            ("preprocessor_config.json", "auto_map", {"AutoImageProcessor": "custom.Processor"}),
        ],
    )
    def test_a_file_beside_it_asks_for_code(self, with_tokenizer, trap, name, key, value):
        trap(with_tokenizer)
        path = edit(with_tokenizer / name, lambda config: config.update({key: value}))
        with pytest.raises(ModelLoadError) as caught:
            load(f"local-dir:{with_tokenizer}")
        assert str(path) in str(caught.value)
        assert key in str(caught.value)

    def test_a_link_is_read_like_the_file(self, with_tokenizer, trap, tmp_path):
        trap(with_tokenizer)
        (tmp_path / "elsewhere").mkdir()
        other = tmp_path / "elsewhere" / "other.json"
        path = with_tokenizer / "tokenizer_config.json"
        path.rename(other)
        path.symlink_to(other)
        edit(other, lambda config: config.update(auto_map={"AutoTokenizer": ["custom.T", None]}))
        with pytest.raises(ModelLoadError, match=r"tokenizer_config\.json: 'auto_map'"):
            load(f"local-dir:{with_tokenizer}")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            # One of its values fetches pickles of nltk.
            ("reduction_mask", "syntax"),
            ("bpe_path", "/etc/passwd"),
            ("config", {"auto_map": {}}),
            ("clean", {"a": 1}),
        ],
    )
    def test_other_arguments_are_refused(self, folder, key, value):
        text(folder, tokenizer_kwargs={key: value})
        with pytest.raises(ModelLoadError, match=f"text_cfg.tokenizer_kwargs.{key}"):
            load(f"local-dir:{folder}")

    def test_a_deeply_nested_file(self, with_tokenizer):
        (with_tokenizer / "tokenizer_config.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)
        with pytest.raises(ModelLoadError, match=r"tokenizer_config\.json could not be read"):
            load(f"local-dir:{with_tokenizer}")


class TestTextTower:
    def test_loads(self, with_tower):
        rows = load(f"local-dir:{with_tower}")
        assert rows.shape == (2, 16)
        assert abs(rows[0] - rows[1]).max() > 1e-4

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("auto_map", {"AutoConfig": "custom.Config", "AutoModel": "custom.Model"}),
            ("auto_map", {"AutoModel": "other/repository--custom.Model"}),
            ("attn_implementation", "org/kernel"),
            ("_attn_implementation", "flash_attention_2"),
            ("model_type", "custom"),
            ("configuration_files", ["config.1.0.0.json"]),
        ],
    )
    def test_its_configuration_asks_for_code(self, with_tower, trap, key, value):
        trap(with_tower / "tower")
        path = edit(with_tower / "tower" / "config.json", lambda c: c.update({key: value}))
        with pytest.raises(ModelLoadError) as caught:
            load(f"local-dir:{with_tower}")
        assert str(path) in str(caught.value)
        assert key in str(caught.value)

    def test_a_folder_elsewhere_is_checked_too(self, with_tower, trap, tmp_path_factory):
        other = tmp_path_factory.mktemp("other") / "tower"
        shutil.copytree(with_tower / "tower", other)
        text(with_tower, hf_model_name=str(other))
        assert load(f"local-dir:{with_tower}").shape == (2, 16)
        clear_model_cache()
        trap(other)
        edit(other / "config.json", lambda c: c.update(auto_map={"AutoConfig": "custom.Config"}))
        with pytest.raises(ModelLoadError, match="auto_map"):
            load(f"local-dir:{with_tower}")

    def test_a_folder_of_its_name_that_happens_to_be_here_is_not_taken(
        self, with_tower, trap, tmp_path_factory, monkeypatch
    ):
        here = tmp_path_factory.mktemp("here")
        shutil.copytree(with_tower / "tower", here / "roberta-base")
        trap(here / "roberta-base")
        monkeypatch.chdir(here)
        text(with_tower, hf_model_name="roberta-base")
        with pytest.raises(ModelLoadError, match="no connection to the model hub"):
            load(f"local-dir:{with_tower}")

    @pytest.mark.parametrize("name", ["../elsewhere", "a/b/c", "/no/such/folder"])
    def test_what_is_neither_repository_nor_folder(self, with_tower, name):
        text(with_tower, hf_model_name=name)
        with pytest.raises(ModelLoadError, match=r"text_cfg\.hf_model_name.*neither a repository"):
            load(f"local-dir:{with_tower}")

    def test_its_own_weights_are_not_loaded(self, with_tower):
        class Trap:
            def __reduce__(self):
                return (with_tower.joinpath("sprung").touch, ())

        torch.save({"weight": Trap()}, with_tower / "tower" / "pytorch_model.bin")
        load(f"local-dir:{with_tower}")
        assert not (with_tower / "sprung").exists()

    def test_the_models_are_those_that_open_clip_builds(self):
        from open_clip.hf_configs import arch_dict

        assert set(arch_dict) == trust.TEXT_MODELS


class TestImageTower:
    @pytest.mark.parametrize("name", ["hf-hub:org/model", "local-dir:/tmp", "org/model"])
    def test_of_a_repository_or_folder(self, folder, name):
        edit(
            folder / CONFIG,
            lambda config: config["model_cfg"]["vision_cfg"].update(timm_model_name=name),
        )
        with pytest.raises(
            ModelLoadError, match=r"open_clip_config\.json: 'vision_cfg.timm_model_n"
        ):
            load(f"local-dir:{folder}")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("timm_model_kwargs", {"pretrained_cfg": {"file": "x.bin"}}),
            ("act_kwargs", {"device": "meta"}),
            ("norm_kwargs", {"eps": {"a": 1}}),
            ("layers", {"a": 1}),
            ("something_new", True),
        ],
    )
    def test_other_settings(self, folder, key, value):
        edit(
            folder / CONFIG,
            lambda config: config["model_cfg"]["vision_cfg"].update({key: value}),
        )
        with pytest.raises(ModelLoadError, match=f"vision_cfg.{key}"):
            load(f"local-dir:{folder}")

    def test_of_timm_loads(self, folder):
        vision = {"image_size": 32, "timm_model_name": "resnet10t", "timm_model_pretrained": True}
        path = edit(folder / CONFIG, lambda config: config["model_cfg"].update(vision_cfg=vision))
        config = json.loads(path.read_text())["model_cfg"]
        config["vision_cfg"]["timm_model_pretrained"] = False
        torch.save(open_clip.CLIP(**config).state_dict(), folder / "open_clip_pytorch_model.bin")
        images = np.zeros((1, 40, 40, 3), np.uint8)
        encoder = CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu")
        assert encoder.transform(images).shape == (1, 16)


class TestWeights:
    class Trap:
        def __init__(self, mark):
            self.mark = mark

        def __reduce__(self):
            return (self.mark.touch, ())

    @pytest.mark.parametrize("new", [True, False])
    @pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth"])
    def test_a_pickle(self, folder, tmp_path, name, new):
        (folder / "open_clip_pytorch_model.bin").unlink()
        path = folder / name
        torch.save({"a": self.Trap(tmp_path / "ran")}, path, _use_new_zipfile_serialization=new)
        with pytest.raises(ModelLoadError) as caught:
            load(f"local-dir:{folder}")
        assert str(path) in str(caught.value)
        assert not (tmp_path / "ran").exists()

    # open_clip goes by the end of the name, in small letters.
    @pytest.mark.parametrize("name", ["weights.pt", "evil.NPZ", "evil.SAFETENSORS"])
    def test_a_type_error_does_not_make_open_clip_try_without_care(
        self, folder, tmp_path, monkeypatch, name
    ):
        config = json.loads((folder / CONFIG).read_text())["model_cfg"]
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", config)
        loads = []
        original = torch.load

        def careless(*args, **options):
            loads.append(options.get("weights_only"))
            return original(*args, **options)

        class Broken:
            def __reduce__(self):
                return (torch.Size, (3,))

        torch.save({"a": Broken()}, tmp_path / name)
        monkeypatch.setattr(torch, "load", careless)
        with pytest.raises(ModelLoadError, match=r"more than tensors"):
            load("Small", str(tmp_path / name))
        assert loads == [True]

    def test_of_a_named_model(self, folder, tmp_path):
        path = tmp_path / "weights.pt"
        torch.save({"a": self.Trap(tmp_path / "ran")}, path)
        with pytest.raises(ModelLoadError, match=r"weights\.pt"):
            load("ViT-B-32", str(path))
        assert not (tmp_path / "ran").exists()

    def test_of_a_tag(self, tmp_path, monkeypatch):
        path = tmp_path / "downloaded.bin"
        torch.save({"a": self.Trap(tmp_path / "ran")}, path)
        monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: str(path))
        with pytest.raises(ModelLoadError, match=r"downloaded\.bin"):
            load("ViT-B-32", "laion2b_s34b_b79k")
        assert not (tmp_path / "ran").exists()

    def test_an_array_of_objects(self, folder, tmp_path, monkeypatch):
        config = json.loads((folder / CONFIG).read_text())["model_cfg"]
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", config)
        path = tmp_path / "weights.npz"
        np.savez(path, a=np.array([self.Trap(tmp_path / "ran")], dtype=object))
        with pytest.raises(ModelLoadError, match=r"weights\.npz"):
            load("Small", str(path))
        assert not (tmp_path / "ran").exists()

    def test_what_is_not_used_is_not_read(self, folder, tmp_path):
        torch.save({"a": self.Trap(tmp_path / "ran")}, folder / "training_args.bin")
        assert load(f"local-dir:{folder}").shape == (2, 16)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "names",
        [
            ["b.bin", "a.pth", "c.safetensors"],
            ["model.safetensors", "open_clip_pytorch_model.bin", "a.safetensors"],
            ["pytorch_model.bin", "z.safetensors"],
            ["model.pth", "pytorch_model.bin", "open_clip_model.safetensors"],
            ["weights.pt"],
        ],
    )
    def test_the_file_that_is_checked_is_the_one_that_open_clip_takes(self, tmp_path, names):
        for name in names:
            (tmp_path / name).touch()
        expected = open_clip.factory._find_checkpoint_in_dir(tmp_path)
        assert (str(weights_of(tmp_path)) if weights_of(tmp_path) else None) == expected


class TestHub:
    def test_a_repository_with_its_tokenizer_in_another(self, with_tokenizer, hub):
        expected = load(f"local-dir:{with_tokenizer}")
        hub("org/model", with_tokenizer)
        hub("org/tokenizer", with_tokenizer)
        np.testing.assert_array_equal(load("hf-hub:org/model"), expected)

    def test_a_repository_with_its_own_tokenizer(self, with_tokenizer, hub):
        expected = load(f"local-dir:{with_tokenizer}")
        text(with_tokenizer, hf_tokenizer_name="org/model")
        hub("org/model", with_tokenizer)
        np.testing.assert_array_equal(load("hf-hub:org/model"), expected)

    def test_a_repository_with_a_text_tower(self, with_tower, hub):
        expected = load(f"local-dir:{with_tower}")
        hub("org/tower", with_tower / "tower")
        hub("org/tokenizer", with_tower)
        text(with_tower, hf_model_name="org/tower")
        hub("org/model", with_tower)
        np.testing.assert_array_equal(load("hf-hub:org/model"), expected)

    @pytest.mark.parametrize("place", ["own", "other"])
    def test_a_tokenizer_that_asks_for_code(self, with_tokenizer, hub, trap, place):
        trap(with_tokenizer)
        auto_map = {"AutoTokenizer": [None, "custom.Tokenizer"]}
        edit(with_tokenizer / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map))
        folder = hub("org/tokenizer", with_tokenizer)
        if place == "own":
            text(with_tokenizer, hf_tokenizer_name="org/model")
        folder = hub("org/model", with_tokenizer) if place == "own" else folder
        if place == "other":
            hub("org/model", with_tokenizer)
        with pytest.raises(ModelLoadError) as caught:
            load("hf-hub:org/model")
        assert str(folder / "tokenizer_config.json") in str(caught.value)
        assert "auto_map" in str(caught.value)

    def test_a_text_tower_that_asks_for_code(self, with_tower, hub, trap):
        trap(with_tower / "tower")
        auto_map = {"AutoConfig": "custom.Config", "AutoModel": "custom.Model"}
        edit(with_tower / "tower" / "config.json", lambda c: c.update(auto_map=auto_map))
        text(with_tower, hf_model_name="org/tower")
        hub("org/model", with_tower)
        hub("org/tokenizer", with_tower)
        folder = hub("org/tower", with_tower / "tower")
        with pytest.raises(ModelLoadError) as caught:
            load("hf-hub:org/model")
        assert str(folder / "config.json") in str(caught.value)

    @pytest.mark.parametrize("name", ["/tmp", "../../x"])
    def test_a_path_on_this_machine(self, with_tokenizer, hub, name):
        text(with_tokenizer, hf_tokenizer_name=name)
        hub("org/model", with_tokenizer)
        with pytest.raises(ModelLoadError, match=r"text_cfg\.hf_tokenizer_name.*neither"):
            load("hf-hub:org/model")

    @pytest.mark.parametrize("left", ["nothing", "open_clip_config.json"])
    def test_without_network_and_tokenizer(self, with_tokenizer, hub, left):
        pytest.importorskip("transformers")
        if left != "nothing":
            # Of the repository, one file was downloaded once.
            (with_tokenizer / "part").mkdir()
            shutil.copy(with_tokenizer / left, with_tokenizer / "part")
            hub("org/tokenizer", with_tokenizer / "part")
        hub("org/model", with_tokenizer)
        with pytest.raises(ModelLoadError, match="no connection to the model hub"):
            load("hf-hub:org/model")


def test_a_configuration_that_a_program_has_added(with_tokenizer, hub, trap, monkeypatch):
    trap(with_tokenizer)
    auto_map = {"AutoTokenizer": [None, "custom.Tokenizer"]}
    edit(with_tokenizer / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map))
    hub("org/tokenizer", with_tokenizer)
    config = json.loads((with_tokenizer / CONFIG).read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Added", config)
    weights = str(with_tokenizer / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"tokenizer_config\.json: 'auto_map"):
        load("Added", weights)
    config["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    with pytest.raises(ModelLoadError, match=r"'Added': 'text_cfg\.tokenizer_kwargs\.trust"):
        load("Added", weights)


def test_an_estimator_from_skops_that_is_asked_to_predict(with_tokenizer, trap, tmp_path, digits):
    skops = pytest.importorskip("skops.io")
    images, labels = digits
    encoder = CLIPFeatureTransformer(f"local-dir:{with_tokenizer}", device="cpu")
    clf = TipAdapterClassifier(encoder).fit(images[:20], labels[:20])
    skops.dump(clf, tmp_path / "clf.skops")
    clear_model_cache()
    trap(with_tokenizer)
    auto_map = {"AutoTokenizer": [None, "custom.Tokenizer"]}
    edit(with_tokenizer / "tokenizer_config.json", lambda c: c.update(auto_map=auto_map))
    text(with_tokenizer, tokenizer_kwargs={"trust_remote_code": True})
    trusted = skops.get_untrusted_types(file=tmp_path / "clf.skops")
    loaded = skops.load(tmp_path / "clf.skops", trusted=trusted)
    with pytest.raises(ModelLoadError, match=r"open_clip_config\.json: .*trust_remote_code"):
        loaded.predict(images[:2])


def test_every_model_of_open_clip_passes():
    for name in open_clip.list_models():
        trust.check_model(open_clip.get_model_config(name), name)


def test_a_refused_folder_leaves_what_was_loaded(clip, with_tokenizer):
    open_encoder(clip)
    text(with_tokenizer, tokenizer_kwargs={"trust_remote_code": True})
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            load(f"local-dir:{with_tokenizer}")
    assert clip.encode_text(["cat"]).shape == (1, 128)
