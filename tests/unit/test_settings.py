"""Settings from the command line, the environment and defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from samref.settings import Settings, SettingsError


def test_only_this_machine_can_connect_unless_told_otherwise() -> None:
    assert Settings.from_environment({}).host == "127.0.0.1"


def test_the_environment_sets_and_the_command_line_wins() -> None:
    environment = {"SAMREF_PORT": "9000", "SAMREF_MODEL": "sam-vit-b", "SAMREF_DATA_FOLDER": "/tmp/labels"}
    settings = Settings.from_environment(environment, model="tiny-random", host=None)
    assert (settings.port, settings.model, settings.data_folder) == (9000, "tiny-random", Path("/tmp/labels"))
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "web", "whole number"),
        ("PORT", "70000", "70000"),
        ("SESSION_IDLE_S", "soon", "a number"),
        ("SESSION_IDLE_S", "nan", "above zero"),
        ("PIXELS", "0", "above zero"),
        ("DEMO_DAYS", "-1", "0 .keep for good. or more"),
        ("DEMO_DAYS", "nan", "0 .keep for good. or more"),
        ("WORKSPACE_DAYS", "30", "not removed by their age any more.*SAMREF_DEMO_DAYS"),
        ("SELF_TEST", "perhaps", "yes or no"),
        ("PRECISION", "fp8", "fp8"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_words(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.from_environment({f"SAMREF_{name}": value})


def test_nothing_expires_unless_told_so() -> None:
    assert Settings.from_environment({}).demo_days == 0
    assert Settings.from_environment({"SAMREF_DEMO_DAYS": "0.5"}).demo_days == 0.5


def test_pixels_may_be_lowered_but_not_raised_above_what_can_be_decoded() -> None:
    assert Settings(pixels=1_000).pixels == 1_000
    with pytest.raises(SettingsError, match="at most 100000000 pixels, whatever is set"):
        Settings(pixels=100_000_001)
