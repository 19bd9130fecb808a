"""Settings from the command line, the environment, Gradio's variables and defaults."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.core
import typer.main

from samref.cli.main import build_app
from samref.errors import SettingsError
from samref.settings import Settings


def test_only_this_machine_can_connect_unless_told_otherwise() -> None:
    assert Settings.from_environment({}).host == "127.0.0.1"


def test_the_environment_sets_and_the_command_line_wins() -> None:
    environment = {"SAMREF_PORT": "9000", "SAMREF_MODEL": "sam-vit-b", "SAMREF_DATA_FOLDER": "/tmp/labels"}
    settings = Settings.from_environment(environment, model="tiny-random", host=None)
    assert (settings.port, settings.model, settings.data_folder) == (9000, "tiny-random", Path("/tmp/labels"))
    assert settings.host == "127.0.0.1"


def test_gradios_variables_count_where_ours_say_nothing() -> None:
    gradio = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "8000"}
    settings = Settings.from_environment(gradio)
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    settings = Settings.from_environment({**gradio, "SAMREF_HOST": "localhost"}, port="9000")
    assert (settings.host, settings.port) == ("localhost", 9000)


SPACE = {
    "SYSTEM": "spaces",
    "SPACE_HOST": "ana-samref.hf.space,label.example.org",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_SERVER_PORT": "7861",
}


def test_a_space_listens_where_its_proxy_looks_and_may_be_framed_by_hugging_face() -> None:
    settings = Settings.from_environment(SPACE)
    assert (settings.host, settings.port) == ("0.0.0.0", 7861)
    assert settings.hosts.split(",") == ["ana-samref.hf.space", "label.example.org"]
    assert settings.frame_ancestors == "https://huggingface.co https://*.hf.space"
    assert settings.device == "auto"
    assert not settings.api
    assert not settings.ship_to
    assert Settings.from_environment({"SYSTEM": "spaces"}).host == "0.0.0.0"


def test_what_is_set_wins_over_the_defaults_of_a_space_and_adds_to_its_names() -> None:
    environment = {**SPACE, "SAMREF_HOST": "10.0.0.1", "SAMREF_FRAME_ANCESTORS": "self", "SAMREF_HOSTS": "more.example"}
    settings = Settings.from_environment(environment, data_folder="/tmp/labels")
    assert (settings.host, settings.frame_ancestors) == ("10.0.0.1", "self")
    assert settings.hosts.split(",") == ["more.example", "ana-samref.hf.space", "label.example.org"]
    assert settings.data_folder == Path("/tmp/labels")


def test_the_labels_of_a_space_lie_where_there_need_be_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "")
    assert Settings.from_environment(SPACE).data_folder == tmp_path / "samref"


@pytest.mark.parametrize("said", ["true", "True", "1", "t"])
def test_on_zero_gpu_the_model_stays_on_the_cpu(said: str) -> None:
    assert Settings.from_environment({**SPACE, "SPACES_ZERO_GPU": said}).device == "cpu"


@pytest.mark.parametrize("environment", [{}, {"SPACES_ZERO_GPU": "true"}, {**SPACE, "SPACES_ZERO_GPU": "false"}])
def test_elsewhere_the_device_is_chosen(environment: dict[str, str]) -> None:
    assert Settings.from_environment(environment).device == "auto"


def test_a_home_folder_is_found() -> None:
    assert Settings.from_environment({"SAMREF_DATA_FOLDER": "~/labels"}).data_folder == Path.home() / "labels"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "web", "SAMREF_PORT is 'web', but a whole number is needed"),
        ("PORT", "70000", "SAMREF_PORT is '70000', but a port from 1 to 65535"),
        ("SESSION_IDLE_S", "soon", "a number is needed"),
        ("SESSION_IDLE_S", "nan", "a number above zero"),
        ("SESSIONS", "0", "SAMREF_SESSIONS is '0', but a number above zero"),
        ("PIXELS", "0", "from 1 to 100000000"),
        ("PIXELS", "100000001", "from 1 to 100000000"),
        ("DEMO_DAYS", "-1", "0 .keep for good. or more"),
        ("DEMO_DAYS", "nan", "0 .keep for good. or more"),
        ("WORKSPACE_DAYS", "30", "not removed by their age any more.*SAMREF_DEMO_DAYS"),
        ("SELF_TEST", "perhaps", "yes or no"),
        ("PRECISION", "fp8", "'fp8', but auto, fp32 or bf16"),
        ("FRAME_ANCESTORS", "self; script-src *", "self, . or addresses"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_words(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.from_environment({f"SAMREF_{name}": value})


@pytest.mark.parametrize(
    ("environment", "flags", "name"),
    [
        ({"SAMREF_PORT": "1"}, {"port": "web"}, "--port"),
        ({}, {"data_folder": "x", "session_bytes": "all"}, "--session-bytes"),
        ({"GRADIO_SERVER_PORT": "web"}, {}, "GRADIO_SERVER_PORT"),
    ],
)
def test_a_refusal_names_what_was_set(environment: dict[str, str], flags: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is"):
        Settings.from_environment(environment, **flags)


def test_nothing_expires_unless_told_so() -> None:
    assert Settings.from_environment({}).demo_days == 0
    assert Settings.from_environment({"SAMREF_DEMO_DAYS": "0.5"}).demo_days == 0.5


def test_every_setting_is_described_and_is_a_flag_and_a_variable() -> None:
    command = typer.main.get_command(build_app("serve"))
    assert isinstance(command, typer.core.TyperGroup)
    options = {option.name: option for option in command.commands["serve"].params}
    values: dict[Any, str] = {int: "7", float: "7.5", bool: "no", Path: "/tmp/x"}
    limited = {"precision": "bf16", "frame_ancestors": "*", "api": "yes"}
    for name, field in Settings.model_fields.items():
        option = options[name]
        assert option.opts[0] == ("--data" if name == "data_folder" else f"--{name.replace('_', '-')}")
        assert str(field.description) in str(getattr(option, "help", ""))
        value = limited.get(name, values.get(field.annotation, "x"))
        from_variable = Settings.from_environment({f"SAMREF_{name.upper()}": value})
        assert from_variable == Settings.from_environment({}, **{name: value})
        assert getattr(from_variable, name) != getattr(Settings(), name), name
