"""The only reader of the environment and of the settings file.

Precedence: a command's flag, then the environment, then the YAML file named by
`ACTIVE_LABELER_CONFIG` (default `active-labeler.yaml` where it exists), then the default here.
Names that users of Label Studio's own backends know keep them (LABEL_STUDIO_URL, MODEL_DIR, ...);
everything else is prefixed ACTIVE_LABELER_ in the environment, and bare in the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from ml_backend.errors import ConfigurationError
from ml_backend.network_settings import known_as
from ml_backend.round_settings import RoundSettings

CONFIG_FILE_VARIABLE = "ACTIVE_LABELER_CONFIG"
DEFAULT_CONFIG_FILE = "active-labeler.yaml"


class Settings(RoundSettings):
    """Everything that can be set, with its unit, default and reason."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    # --- Label Studio
    label_studio_url: str = Field(
        "http://localhost:8080",
        validation_alias=known_as("label_studio_url", bare=True),
        description="Where Label Studio is reached from here. The token is sent nowhere else.",
    )
    label_studio_public_url: str = Field(
        "",
        validation_alias=known_as("label_studio_public_url", bare=True),
        description="Where people's browsers reach Label Studio, if not at LABEL_STUDIO_URL: links "
        "lead there.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=known_as("label_studio_api_key", bare=True),
        description="A personal access token (or a legacy token) of a Label Studio user.",
    )
    source_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=known_as("source_api_key"),
        description="The token of another Label Studio that `import --from-project` reads.",
    )
    request_timeout_s: float = Field(
        30.0,
        gt=0,
        validation_alias=known_as("request_timeout_s"),
        description="Longest wait for one answer of Label Studio, in seconds.",
    )

    # --- Serving
    host: str = Field(
        "127.0.0.1",
        validation_alias=known_as("host"),
        description="Address that the backend listens on; 0.0.0.0 in a container.",
    )
    port: int = Field(
        9090,
        ge=1,
        le=65535,
        validation_alias=known_as("port", bare=True),
        description="Port that the backend listens on.",
    )
    workers: int = Field(
        1,
        ge=1,
        validation_alias=known_as("workers", bare=True),
        description="gunicorn processes. One is enough: training runs in a process of its own.",
    )
    threads: int = Field(
        8,
        ge=1,
        validation_alias=known_as("threads", bare=True),
        description="gunicorn threads per process.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        validation_alias=known_as("log_level", bare=True),
        description="Least severe log lines that are written.",
    )
    basic_auth_user: str = Field(
        "",
        validation_alias=known_as("basic_auth_user", bare=True),
        description="Login of the backend's own routes. Empty: only Label Studio gets in.",
    )
    basic_auth_pass: SecretStr = Field(
        SecretStr(""),
        validation_alias=known_as("basic_auth_pass", bare=True),
        description="Password that goes with BASIC_AUTH_USER.",
    )
    max_request_bytes: int = Field(
        64 * 2**20,
        gt=0,
        validation_alias=known_as("max_request_bytes"),
        description="Largest accepted request. A TASKS_CREATED event carries up to 5,000 tasks.",
    )

    # --- State
    model_dir: Path = Field(
        Path("active-labeler-data"),
        validation_alias=known_as("model_dir", bare=True),
        description="Folder of the database, embeddings and models.",
    )
    database_url: str = Field(
        "",
        validation_alias=known_as("database_url"),
        description="SQLAlchemy URL. Empty: SQLite inside MODEL_DIR.",
    )

    # --- Appraisal
    appraise: bool = Field(
        True,
        validation_alias=known_as("appraise"),
        description="Appraise the labels whenever there are new ones and nobody is at work: the "
        "learning curve, labels saved, suspects, advice. In a process of its own.",
    )

    # --- Images
    image_max_bytes: int = Field(
        50 * 2**20,
        gt=0,
        validation_alias=known_as("image_max_bytes"),
        description="Largest image file that is fetched.",
    )
    image_max_pixels: int = Field(
        100_000_000,
        gt=0,
        validation_alias=known_as("image_max_pixels"),
        description="Largest image that is decoded, in pixels.",
    )
    image_timeout_s: float = Field(
        20.0,
        gt=0,
        validation_alias=known_as("image_timeout_s"),
        description="Longest time that fetching one image may take, in seconds.",
    )
    image_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias=known_as("image_hosts"),
        description="Hosts that images may come from (comma-separated; *.example.org matches "
        "subdomains). Empty: any host with a public address. Label Studio's own is always allowed.",
    )
    image_private_addresses: bool = Field(
        False,
        validation_alias=known_as("image_private_addresses"),
        description="Allow images from private, loopback and link-local addresses.",
    )

    local_files_root: Path | None = Field(
        None,
        validation_alias=AliasChoices(
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT",
            "ACTIVE_LABELER_LOCAL_FILES_ROOT",
            "local_files_root",
        ),
        description="Label Studio's folder of local files, where this machine sees it at the same "
        "path: its images are read from disk, and `import` links to them.",
    )

    @field_validator("image_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "input_size_px",
        "input_resize_px",
        "input_interpolation",
        "local_files_root",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("input_std")
    @classmethod
    def _positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError(f"expected numbers above 0, got {value}")
        return value

    @field_validator("label_studio_url", "label_studio_public_url")
    @classmethod
    def _http_url(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.field_name == "label_studio_public_url":
            return value
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"expected http://... or https://..., got {value!r}")
        return value.rstrip("/")

    @property
    def links_url(self) -> str:
        """Where links for people lead."""
        return self.label_studio_public_url or self.label_studio_url

    @property
    def sqlalchemy_url(self) -> str:
        """The database to open."""
        return self.database_url or f"sqlite:///{self.model_dir.absolute() / 'state.sqlite3'}"

    @property
    def local_files_here(self) -> Path | None:
        """Label Studio's folder of local files, if this machine has it."""
        root = self.local_files_root
        return root if root is not None and root.is_dir() else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over environment over file."""
        file = _config_file()
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if file is not None:
            sources += (YamlConfigSettingsSource(settings_cls, yaml_file=file),)
        return sources


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named and not Path(named).is_file():
        raise ConfigurationError(f"{CONFIG_FILE_VARIABLE}={named!r}: there is no such file")
    path = Path(named or DEFAULT_CONFIG_FILE)
    return path if path.is_file() else None


def load_settings(**flags: object) -> Settings:
    """Read the settings; `flags` (None means not given) win over environment and file.

    Raises ConfigurationError, one line per setting that cannot be used.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigurationError("Settings that cannot be used:\n  " + "\n  ".join(lines)) from None
