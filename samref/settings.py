"""Settings of the labelling server: flags win, then ``SAMREF_<NAME>``, then Gradio's own variables, then defaults.

On a Space of Hugging Face some defaults are others (:func:`space_defaults`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from samref.core.geometry import MAX_PIXELS
from samref.errors import SettingsError

ENVIRONMENT_PREFIX = "SAMREF_"
"""``SAMREF_PORT=8000`` sets ``port``, and so on for every field."""

GRADIO_VARIABLES = {"host": "GRADIO_SERVER_NAME", "port": "GRADIO_SERVER_PORT"}
"""Hugging Face Spaces and other hosts of Gradio apps set these."""

SPACE_FRAMES = "https://huggingface.co https://*.hf.space"
"""Pages that show a Space in a frame: Hugging Face's own, and other Spaces."""

FLAGS = {"data_folder": "--data"}
"""Flags of ``samref serve`` that are not called like their field."""

WORKSPACE_DAYS = f"{ENVIRONMENT_PREFIX}WORKSPACE_DAYS"
"""Once removed old workspaces; whoever set it should hear that it does not."""

MEBIBYTE = 1024 * 1024

Size = Annotated[int, Field(gt=0)]

WANTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "yes or no",
    "greater_than": "a number above zero",
    "finite_number": "a number above zero",
}
"""What a field takes, by the fault that pydantic found; fields that can say it better do so in ``WANTED_BY_FIELD``."""

WANTED_BY_FIELD = {
    "port": "a port from 1 to 65535 (0: any free one)",
    "precision": "auto, fp32 or bf16",
    "pixels": f"a whole number from 1 to {MAX_PIXELS}",
    "demo_days": "0 (keep for good) or more",
    "ship_to": "an address such as hf://buckets/owner/name, or nothing",
    "frame_ancestors": "self, * or addresses such as https://example.org",
}


class Settings(BaseModel):
    """Everything the server can be told; each store has a size and a clock."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 lets others in")
    port: int = Field(default=7860, ge=0, le=65535, description="TCP port; 0 takes any free one")
    model: str = Field(default="tiny", description="Model that new images are opened with")
    device: str = Field(default="auto", description="Device of the model: auto, cpu, cuda, ...")
    precision: Literal["auto", "fp32", "bf16"] = Field(default="auto", description="auto (measured), fp32 or bf16")
    data_folder: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: user_data_path("samref", appauthor=False), description="Folder for images and labels"
    )
    database: str = Field(default="", description="Address of the labels' database; empty: SQLite in the data folder")
    images: str = Field(default="", description="Folder of images that the page offers to open; on your own machine")
    upload_bytes: Size = Field(default=64 * MEBIBYTE, description="Largest file that may be uploaded")
    pixels: Size = Field(default=MAX_PIXELS, le=MAX_PIXELS, description="Largest image that may be uploaded, in pixels")
    sessions: Size = Field(default=64, description="Images kept ready in memory, over all workspaces")
    session_bytes: Size = Field(default=2048 * MEBIBYTE, description="Memory of these images, without their embeddings")
    session_idle_s: float = Field(default=3600.0, gt=0, description="Seconds until an untouched image leaves memory")
    embedding_bytes: Size = Field(default=1024 * MEBIBYTE, description="Memory for image embeddings")
    demo_days: float = Field(
        default=0.0,
        ge=0,
        description="Days after which a demo removes workspaces that nobody visits; 0 keeps them for good",
    )
    store_bytes: Size = Field(
        default=50 * 1024 * MEBIBYTE,
        description="Disk space for images and labels; a full store refuses more, removes nothing",
    )
    max_threads: Size = Field(default=64, description="Threads that wait for disk and decoder")
    hosts: str = Field(default="", description="Further names the server answers to, separated by commas; * for any")
    frame_ancestors: str = Field(
        default="self",
        pattern=r"^(\*|self|https?://[\w.*:-]+( https?://[\w.*:-]+)*)$",
        description="Pages that may show this one in a frame: self, *, or addresses separated by spaces",
    )
    api: bool = Field(default=False, description="Whether scripts may ask for masks through Gradio's API")
    ship_to: str = Field(
        default="", description="Address that labels are copied to and restored from, as fsspec knows it; empty: none"
    )
    ship_every_s: float = Field(default=5.0, gt=0, description="Seconds between copies of what was newly done")
    snapshot_every_s: float = Field(default=300.0, gt=0, description="Seconds between whole copies of the labels")
    self_test: bool = Field(default=True, description="Click a bundled image at start and print the times")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **flags: Any) -> Self:
        """Settings from ``environment``; ``flags`` that are not None win."""
        if WORKSPACE_DAYS in environment:
            raise SettingsError(
                f"{WORKSPACE_DAYS} is set, but workspaces are not removed by their age any more. Unset it; a demo that "
                f"should forget its visitors can set {ENVIRONMENT_PREFIX}DEMO_DAYS instead."
            )
        values = space_defaults(environment)
        said_by = dict.fromkeys(values, "A variable of the Space")
        for name in cls.model_fields:
            variables = [f"{ENVIRONMENT_PREFIX}{name.upper()}", GRADIO_VARIABLES.get(name, "")]
            sources = [(flag_of(name), flags.get(name)), *((each, environment.get(each)) for each in variables)]
            for source, value in sources:
                if value is not None:
                    values[name], said_by[name] = value, source
                    break
        if is_space(environment):
            values["hosts"] = _with_space_host(values["hosts"], environment)
        try:
            return cls(**values)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            name = str(fault["loc"][0])
            wanted = WANTED.get(fault["type"], fault["msg"])
            if not fault["type"].endswith("_parsing"):
                wanted = WANTED_BY_FIELD.get(name, wanted)
            raise SettingsError(f"{said_by[name]} is {str(fault['input'])!r}, but {wanted} is needed.") from error


def flag_of(name: str) -> str:
    """How ``samref serve`` calls the field ``name``."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def is_space(environment: Mapping[str, str]) -> bool:
    """Whether this runs as a Space of Hugging Face."""
    return environment.get("SYSTEM") == "spaces"


def is_zero_gpu(environment: Mapping[str, str]) -> bool:
    """Whether this runs as a Space that is lent a GPU for seconds at a time; the package ``spaces`` asks the same."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def space_defaults(environment: Mapping[str, str]) -> dict[str, Any]:
    """The defaults that a Space has instead of this machine's; nothing elsewhere.

    The disk of a Space forgets everything at its next start, whatever the folder, and its home may be missing: labels
    lie where temporary files do. On ZeroGPU the model stays on the CPU (docs/adr/0019-zero-gpu.md).
    """
    if not is_space(environment):
        return {}
    defaults: dict[str, Any] = {
        "host": "0.0.0.0",  # noqa: S104 - the proxy of the Spaces reaches it no other way
        "hosts": "",
        "frame_ancestors": SPACE_FRAMES,
        "data_folder": Path(tempfile.gettempdir()) / "samref",
    }
    if is_zero_gpu(environment):
        defaults["device"] = "cpu"
    return defaults


def _with_space_host(hosts: str, environment: Mapping[str, str]) -> str:
    """The names that were set and those Hugging Face gave the Space: several, once it has a domain of its own."""
    names = [*hosts.split(","), *environment.get("SPACE_HOST", "").split(",")]
    return ",".join(dict.fromkeys(name.strip() for name in names if name.strip()))
