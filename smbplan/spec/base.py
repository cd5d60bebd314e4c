"""What all definitions share: the base class, secrets, and the way by SSH."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from smbplan.spec.types import Text


class Definition(BaseModel):
    """A part of the definitions: frozen, and closed against unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Itself: it is frozen, and pydantic would copy a default for each of ten thousand shares."""
        return self


class Secret(Definition):
    """Where a secret is found: an environment variable, a file's first line, or a command's first line."""

    env: Text | None = Field(None, description="name of an environment variable")
    file: Text | None = Field(None, description="path of a file; its first line is the secret")
    command: list[Text] | None = Field(None, description="a command and its arguments; prints the secret")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(value is not None for value in (self.env, self.file, self.command)) != 1:
            raise ValueError("a secret has one source — write exactly one of env, file, command")
        return self


class Ssh(Definition):
    """How SSH reaches a gateway. Host keys are always checked."""

    user: Text = "root"
    port: int | None = Field(None, ge=1, le=65535)
    identity: Text | None = Field(None, description="private key file")
    config: Text | None = Field(None, description="ssh_config file to use")
    sudo: bool = Field(False, description="become root by sudo (needs NOPASSWD)")
