"""How a setting is declared: its variable, default and help, beside its type."""

from typing import Any, ClassVar

import msgspec
from pydantic import AliasChoices, Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


def variable(
    *names: str,
    default: object,
    text: str,
    least: float | None = None,
    most: float | None = None,
    shown: str | None = None,
) -> Any:
    """Declares one setting.

    Args:
        names: the variable; further ones are other names of the same, the first that is not empty counts. A name that
            ends in `<ID>` stands for as many variables as are set; its value is a dictionary of their texts by id.
        default: its value when none is set.
        text: one line of help.
        least: smallest number allowed.
        most: largest number allowed.
        shown: how the reference page puts the default, where its text would not do.
    """
    return Field(
        default=default,
        validation_alias=AliasChoices(*names),
        description=text,
        ge=least,
        le=most,
        json_schema_extra=None if shown is None else {"shown": shown},
    )


_ID = "<ID>"


class Variable(msgspec.Struct, frozen=True):
    """One declared setting, as loading and the reference page see it."""

    field: str
    names: tuple[str, ...]
    info: FieldInfo

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def is_open(self) -> bool:
        """Whether the name stands for many variables, one per id."""
        return self.name.endswith(_ID)

    @property
    def prefix(self) -> str:
        """What the names of those begin with."""
        return self.name.removesuffix(_ID)

    def covers(self, name: str) -> bool:
        """Whether a variable is one of them."""
        return name.startswith(self.prefix) and name != self.prefix

    @property
    def secret(self) -> bool:
        return self.info.annotation in (SecretStr, SecretStr | None)


class Settings(BaseSettings):
    """Base of all settings classes. Values come from `load`; the constructor takes them by field name."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        case_sensitive=True,
        populate_by_name=True,
        loc_by_alias=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )

    service: ClassVar[str] = ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: it knows which variable a value came from, for its message."""
        return (init_settings,)


def variables(cls: type[Settings]) -> list[Variable]:
    """The settings of a class, in the order declared."""
    found = []
    for field, info in cls.model_fields.items():
        choices = info.validation_alias
        assert isinstance(choices, AliasChoices), f"{cls.__name__}.{field} is not declared with variable()"
        found.append(Variable(field, tuple(str(name) for name in choices.choices), info))
    return found
