"""The base class of factories. Only ``seeding`` folders import it, because polyfactory is an extra of the services."""

from typing import Any, ClassVar, Generic, TypeVar

from polyfactory.factories.pydantic_factory import ModelFactory
from pydantic import BaseModel

ModelT = TypeVar("ModelT", bound=BaseModel)


class NumberedFactory(ModelFactory[ModelT], Generic[ModelT]):
    """Every object has the next number, and ``describe`` says what follows from it: unique values so differ.

    Random values would differ from run to run, and could break a rule that only a validator knows.
    """

    __is_base_factory__ = True
    last_number: ClassVar[int] = 0

    @classmethod
    def describe(cls, number: int) -> dict[str, Any]:
        """Fields of the object with this number, as a client sends them; polyfactory makes up the others."""
        raise NotImplementedError

    @classmethod
    def process_kwargs(cls, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 polyfactory's own
        cls.last_number += 1
        return super().process_kwargs(**(cls.describe(cls.last_number) | kwargs))
