"""A key ring in AWS Secrets Manager: the member PASETO_KEYS of auth's secret, and of those of the other parts."""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from kpi_cli.errors import FailureError
from kpi_cli.token_keys.ring import Ring, dump, parse, require_minting
from kpi_cli.token_keys.store import Step

if TYPE_CHECKING:
    from types_boto3_secretsmanager.client import SecretsManagerClient

MEMBER = "PASETO_KEYS"
_CURRENT = "AWSCURRENT"
_TRIES = 10
_CONFLICTS = frozenset({"InvalidParameterException", "InvalidRequestException", "ResourceExistsException"})


class AwsStore:
    """Every change is made to the version that was read, or not at all: no other change is lost."""

    # The parts read the secret every AWS_SECRETS_REFRESH seconds, 30 by default.
    pause_seconds = 5.0

    def __init__(self, name: str, copies: Sequence[str] = ()) -> None:
        self.name = name
        self.copies = tuple(copies)
        limits = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3})
        try:
            # The endpoint and the credentials are those of the environment, as for the parts.
            self._client: SecretsManagerClient = boto3.client(
                "secretsmanager", region_name=os.environ.get("AWS_REGION"), config=limits
            )
        except (BotoCoreError, ValueError) as error:
            raise FailureError("keys", f"AWS Secrets Manager: {error}", fix="set AWS_REGION", code=2) from error

    def read(self) -> Ring:
        with _failing(self.name):
            return self._parse(self._get(self.name)[0])

    def update(self, step: Step) -> Ring:
        text = self._replace(self.name, lambda document: dump(step(require_minting(self._parse(document), self.name))))
        ring = parse(text, self.name)
        copy = dump(ring.for_verifiers())
        for name in self.copies:
            self._replace(name, lambda _: copy)
        return ring

    @contextmanager
    def hold_rotation(self) -> Iterator[None]:
        """Two runs take the same steps together: each of them is made once."""
        yield

    def _replace(self, name: str, text_of: Callable[[dict[str, Any]], str]) -> str:
        """Set the ring in a secret to what follows from its current document, and return it."""
        for attempt in range(_TRIES):
            with _failing(name):
                document, version = self._get(name)
                text = text_of(document)
                if document.get(MEMBER) == text or self._put(name, {**document, MEMBER: text}, version):
                    return text
            time.sleep(0.1 * attempt)
        raise FailureError("keys", f"the secret {name} changes too often", fix="try again")

    def _get(self, name: str) -> tuple[dict[str, Any], str]:
        found = self._client.get_secret_value(SecretId=name, VersionStage=_CURRENT)
        document = json.loads(found["SecretString"])
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 the value is invalid
        return document, found["VersionId"]

    def _put(self, name: str, document: dict[str, Any], version: str) -> bool:
        """Make a new version the current one; False if the current one is not ``version`` any more.

        A version is written under a stage of its own first, since only moving a stage can depend on where it is.
        """
        new = str(uuid.uuid4())
        self._client.put_secret_value(
            SecretId=name, ClientRequestToken=new, SecretString=json.dumps(document), VersionStages=[f"kpi-{new}"]
        )
        try:
            self._client.update_secret_version_stage(
                SecretId=name, VersionStage=_CURRENT, MoveToVersionId=new, RemoveFromVersionId=version
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in _CONFLICTS:
                raise
            return False
        finally:
            self._client.update_secret_version_stage(SecretId=name, VersionStage=f"kpi-{new}", RemoveFromVersionId=new)
        return True

    def _parse(self, document: dict[str, Any]) -> Ring:
        if MEMBER not in document:
            raise FailureError("keys", f"the secret {self.name} has no {MEMBER}", fix="see docs/keys.md")
        found = document[MEMBER]
        # The parts accept an object too, as the console of AWS shows it.
        text = found if isinstance(found, str) else json.dumps(found)
        return parse(text, f"{MEMBER} in the secret {self.name}")


@contextmanager
def _failing(name: str) -> Iterator[None]:
    """Raise FailureError, without any value, for what AWS responds or what cannot be read."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown error")
        raise _failure(name, f"AWS responds with {code}") from error
    except BotoCoreError as error:
        raise _failure(name, str(error)) from error
    except (ValueError, KeyError):
        raise _failure(name, "it is not a JSON object in a SecretString") from None


def _failure(name: str, problem: str) -> FailureError:
    actions = "secretsmanager:GetSecretValue, PutSecretValue and UpdateSecretVersionStage"
    fix = f"allow {actions} for the identity of: aws sts get-caller-identity"
    return FailureError("keys", f"the secret {name}: {problem}", fix=fix)
