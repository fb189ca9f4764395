"""Makes the steps, one call after another."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.api import ApiError
from cli.manifest.actual import account_path, gateway_path
from cli.manifest.diff import Action
from cli.manifest.thing import Kind
from services.router.core.gateway import DEFAULT_GATEWAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.api import Api
    from cli.manifest.diff import Step

__all__ = ["CarryOut"]

_LISTS: Final = {
    Kind.PROVIDER: "custom-providers",
    Kind.GATEWAY: "gateways",
    Kind.KEY: "provider_configs",
    Kind.ROUTE: "routes",
}


class CarryOut:
    """
    Makes steps.

    Args:
        api: The management API.
        show_secret: Shows the secret of a new token, by its name, for one that no file takes.
    """

    def __init__(self, api: Api, show_secret: Callable[[str, str], None]) -> None:
        self._api = api
        self._show_secret = show_secret

    def make(self, step: Step) -> None:
        """
        Make a step.

        Raises:
            ApiError: It is refused, or nobody answers.
        """
        if step.action is Action.DELETE:
            self._api.delete(_path(step))
        elif step.place.kind is Kind.TOKEN:
            self._token(step)
        elif step.place.kind is Kind.ROUTE:
            self._route(step)
        elif step.place.kind is Kind.GATEWAY and step.name == DEFAULT_GATEWAY:
            # It may have made itself since it was looked for.
            self._api.put(f"{_base(step)}/{step.name}", _body(step))
        elif step.action is Action.CREATE:
            self._api.post(_base(step), _body(step))
        elif step.place.kind is Kind.PROVIDER:
            self._api.patch(_path(step), _body(step))
        else:
            self._api.put(_path(step), _body(step))

    def _route(self, step: Step) -> None:
        assert step.wanted is not None
        if step.action is Action.CREATE:
            self._api.post(_base(step), {"name": step.name, **step.wanted.body})
            return
        made = self._api.post(f"{_path(step)}/versions", {**step.wanted.body, "comment": "headrace apply"})
        self._api.post(f"{_path(step)}/deployments", {"version_id": made["version_id"]})

    def _token(self, step: Step) -> None:
        assert step.wanted is not None
        if step.action is Action.UPDATE:
            self._api.put(_path(step), step.wanted.body)
            return
        path = step.wanted.write_to
        if path is None:
            self._new_token(step, lambda secret: self._show_secret(step.name, secret))
            return
        # The file comes first: a token whose secret nobody has is of no use.
        with _private_file(path) as keep:
            self._new_token(step, keep)

    def _new_token(self, step: Step, keep: Callable[[str], object]) -> None:
        """Make a token and give its secret to `keep`; a token whose secret is lost there is taken back."""
        assert step.wanted is not None
        try:
            made = self._api.post(_base(step), step.wanted.body)
        except ApiError as error:
            if error.status:
                raise
            text = "It may be there all the same, and nobody has its secret: see `headrace token list`."
            raise ApiError(f"{error} {text}") from error
        try:
            keep(made["value"])
        except OSError as error:
            where = step.wanted.write_to or "the output"
            raise ApiError(
                f"{where} cannot be written: {error.strerror or error}. {self._take_back(step, made['id'])}"
            ) from error
        except BaseException:
            # Interrupted, say.
            self._take_back(step, made["id"])
            raise

    def _take_back(self, step: Step, token_id: str) -> str:
        try:
            self._api.delete(f"{_base(step)}/{token_id}")
        except ApiError as error:
            return (
                f"The token {token_id} is there and nobody has its secret, as it could not be revoked "
                f"({error}): `headrace token revoke {token_id}` does."
            )
        return "The token was revoked again."


@contextlib.contextmanager
def _private_file(path: Path) -> Iterator[Callable[[str], None]]:
    """
    Give what writes a file that only its owner can read, whole or not at all; that may raise OSError.

    Raises:
        ApiError: There can be no such file.
    """
    try:
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ApiError(f"{path} cannot be written: {error.strerror}.") from error
    # Without a buffer, which would be written once more, and fail once more, when it is closed.
    file = os.fdopen(number, "wb", buffering=0)

    def keep(text: str) -> None:
        raw = f"{text}\n".encode()
        if file.write(raw) != len(raw):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
        Path(name).replace(path)

    try:
        with file:
            yield keep
    finally:
        Path(name).unlink(missing_ok=True)


def _base(step: Step) -> str:
    place = step.place
    if place.kind is Kind.ACCOUNT:
        return "/accounts"
    if place.kind in {Kind.KEY, Kind.ROUTE}:
        return gateway_path(place.account, place.gateway, _LISTS[place.kind])
    if place.kind is Kind.TOKEN:
        return account_path(place.account, "tokens")
    return account_path(place.account, "ai-gateway", _LISTS[place.kind])


def _path(step: Step) -> str:
    assert step.found is not None
    return f"{_base(step)}/{step.found.id}"


def _body(step: Step) -> dict[str, Any]:
    assert step.wanted is not None
    kind, body = step.place.kind, dict(step.wanted.body)
    if kind is Kind.ACCOUNT:
        # An account's name is always sent; a file may leave it as it is.
        name = step.name if step.found is None else step.found.fields["name"]
        return {"name": name, **({"id": step.name} if step.found is None else {}), **body}
    if kind is Kind.PROVIDER and step.found is None:
        return {"slug": step.name, **body}
    if kind is Kind.KEY:
        if step.found is not None:
            # A reference is sent when it is another, as a key is: sending it again would count as rotated.
            del body["provider_slug"]
            if step.found.fields["ref"] == step.wanted.fields["ref"]:
                body.pop("secret_id", None)
        if step.with_secret and step.wanted.secret is not None:
            body["secret"] = step.wanted.secret.reveal()
    return body
