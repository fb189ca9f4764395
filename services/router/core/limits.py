"""
Which limits a gateway has, and which of them a request counts against. Pure.

A limit is one of the gateway's own rate (`rate_limiting_*`), of `rate_limits` or of `spend_limits`. Each has
a counter, or one for each value of what it is partitioned by. Counters are known by the rule's id and the
length of its window: a rule that is changed otherwise goes on counting where it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.router.core.settings import Technique
from services.router.core.windows import MOST_AMOUNT, Admit, Bucket, Unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.router.core.documents import Documents
    from services.router.core.settings import GatewaySettings

__all__ = [
    "NANO_USD",
    "NO_LIMITS",
    "Asked",
    "Dimension",
    "Limits",
    "Rule",
    "applying",
    "bucket_key",
    "compile_limits",
    "is_limited",
]

NANO_USD: Final = 1_000_000_000
_UNITS: Final = {"requests": Unit.REQUESTS, "tokens": Unit.TOKENS, "cost": Unit.NANO_USD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """
    What a rule makes of one property of requests.

    Attributes:
        name: `model`, `provider`, `token` or `metadata`.
        key: Which metadata; empty for the others.
        values: The rule is for these only. None: each value has a limit of its own.
    """

    name: str
    key: str = ""
    values: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One limit.

    Attributes:
        kind: `gateway`, `rate` or `spend`.
        id: Empty for the gateway's own.
        limit: In requests, tokens or billionths of a US dollar.
        each_step: Whether it looks at what is asked rather than at who asks, so that a request's further
            steps count again.
    """

    kind: str
    id: str
    unit: Unit
    limit: int
    window_s: int
    technique: Technique
    admit: Admit
    dimensions: tuple[Dimension, ...] = ()

    @property
    def each_step(self) -> bool:
        """Whether further steps of a request count again."""
        return any(each.name in {"model", "provider"} for each in self.dimensions)

    @property
    def hard(self) -> bool:
        """Whether it is a limit of money that is never to be exceeded."""
        return self.unit is Unit.NANO_USD and self.admit is Admit.FITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a gateway that are in force."""

    rules: tuple[Rule, ...] = ()


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What a request is about to use.

    Attributes:
        model: In the provider's naming; empty where it is not known.
        other_models: What the provider may fall back to by itself, likewise.
        token_id: Empty: none was presented.
        counted: Whether an earlier step of the same request was counted.
        tokens: The most that it will use.
        nano_usd: The most that it will cost. None: the price is not known.
    """

    provider: str
    model: str
    other_models: tuple[str, ...] = ()
    token_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    counted: bool = False
    tokens: int = 0
    nano_usd: int | None = None

    def amount(self, unit: Unit) -> int:
        """Say how much of a unit it will use."""
        if unit is Unit.REQUESTS:
            return 1
        wanted = self.tokens if unit is Unit.TOKENS else self.nano_usd or 0
        return min(max(0, wanted), MOST_AMOUNT)


def compile_limits(
    settings: GatewaySettings, documents: Documents, aliases: Mapping[str, str] | None = None
) -> Limits:
    """
    Return the limits of a gateway that are in force.

    Args:
        settings: Its plain settings.
        documents: Its other settings, as they were checked and kept.
        aliases: Other names of providers, which rules may use.
    """
    rules: list[Rule] = []
    if settings.rate_limit and settings.rate_limit_interval_s:
        rules.append(
            Rule(
                kind="gateway",
                id="",
                unit=Unit.REQUESTS,
                limit=settings.rate_limit,
                window_s=settings.rate_limit_interval_s,
                technique=settings.rate_limit_technique,
                admit=Admit.FITS,
            )
        )
    for kind, text in (("rate", documents.rate_limits), ("spend", documents.spend_limits)):
        document = orjson.loads(text) if text else None
        if document is not None and document["enabled"]:
            rules += [_rule(kind, rule, aliases or {}) for rule in document["rules"] if rule["enabled"]]
    return Limits(rules=tuple(rules)) if rules else NO_LIMITS


def is_limited(settings: GatewaySettings, documents: Documents) -> bool:
    """Tell whether a gateway has a limit in force."""
    return bool(compile_limits(settings, documents).rules)


def applying(limits: Limits, asked: Asked) -> list[tuple[Rule, Bucket]]:
    """
    Return the limits that a step counts against, each with its counter.

    Raises:
        GatewayError: SPEND_LIMITED; a hard limit applies, or may apply, and the price is not known.
    """
    found = []
    for rule in limits.rules:
        if asked.counted and rule.unit is Unit.REQUESTS and not rule.each_step:
            continue
        if rule.hard and not asked.model and _may_apply(rule, asked):
            raise _no_price(rule, asked)
        values = _values(rule, asked)
        if values is None:
            continue
        if rule.hard and asked.nano_usd is None:
            raise _no_price(rule, asked)
        found.append((rule, _bucket(rule, values)))
    return found


def bucket_key(*parts: str) -> str:
    """Return the name of a counter: short, and without anything that somebody wrote."""
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _rule(kind: str, rule: dict[str, Any], aliases: Mapping[str, str]) -> Rule:
    unit = _UNITS[rule["limitType"]]
    limit = round(rule["limit"] * NANO_USD) if unit is Unit.NANO_USD else int(rule["limit"])
    dimensions = [
        _dimension(name, "", rule[name], aliases) for name in ("model", "provider", "token") if name in rule
    ]
    dimensions += [
        _dimension("metadata", key, value, {}) for key, value in sorted(rule.get("metadata", {}).items())
    ]
    return Rule(
        kind=kind,
        id=rule["id"],
        unit=unit,
        limit=max(1, limit),
        window_s=rule["window"],
        technique=Technique(rule["technique"]),
        admit=_admit(unit, hard=rule.get("mode") == "hard"),
        # A filter without values is no restriction: better than a limit that nobody notices not to be there.
        dimensions=tuple(each for each in dimensions if each.values is None or each.values),
    )


def _admit(unit: Unit, *, hard: bool) -> Admit:
    if hard or unit is Unit.REQUESTS:
        return Admit.FITS
    return Admit.LEFT if unit is Unit.TOKENS else Admit.SPENT


def _dimension(name: str, key: str, document: dict[str, Any], aliases: Mapping[str, str]) -> Dimension:
    if document["mode"] == "partition":
        return Dimension(name=name, key=key)
    values = document["values"]
    if name == "provider":
        values = [aliases.get(value.lower(), value.lower()) for value in values]
    elif name == "model":
        # As it is written, too: `google/…` is also what models are named at providers that have many makers'.
        values = [each for value in values for each in (value.lower(), _model(value.lower(), aliases))]
    return Dimension(name=name, key=key, values=frozenset(values))


def _model(text: str, aliases: Mapping[str, str]) -> str:
    provider, slash, model = text.partition("/")
    return aliases.get(provider, provider) + slash + model


def _may_apply(rule: Rule, asked: Asked) -> bool:
    """Tell whether a rule that looks at models may be for a request whose model is not known."""
    others = tuple(each for each in rule.dimensions if each.name != "model")
    named = [each.values for each in rule.dimensions if each.name == "model"]
    if not named or _values(replace(rule, dimensions=others), asked) is None:
        return False
    (values,) = named
    return values is None or any(
        not value.partition("/")[1] or value.partition("/")[0] == asked.provider for value in values
    )


def _values(rule: Rule, asked: Asked) -> list[str] | None:
    """Return what a counter is partitioned by, in order of the rule; None when the rule does not apply."""
    values = []
    for each in rule.dimensions:
        value = _value(each, asked)
        if each.values is None:
            if not value:
                # Who does not say it is not limited by it.
                return None
            values.append(value)
        elif not _is_named(each.values, each.name, value, asked):
            return None
    return values


def _is_named(values: frozenset[str], name: str, value: str, asked: Asked) -> bool:
    if name != "model":
        return value in values
    models = [model.lower() for model in (asked.model, *asked.other_models)]
    return any(model in values or f"{asked.provider}/{model}" in values for model in models)


def _value(dimension: Dimension, asked: Asked) -> str:
    if dimension.name == "metadata":
        return asked.metadata.get(dimension.key, "")
    if dimension.name == "model":
        return f"{asked.provider}/{asked.model.lower()}" if asked.model else ""
    return asked.provider if dimension.name == "provider" else asked.token_id


def _bucket(rule: Rule, values: list[str]) -> Bucket:
    return Bucket(
        key=bucket_key(rule.kind, rule.id, rule.unit.name, str(rule.window_s), *values),
        unit=rule.unit,
        limit=rule.limit,
        window_s=rule.window_s,
        technique=rule.technique,
        admit=rule.admit,
    )


def _no_price(rule: Rule, asked: Asked) -> GatewayError:
    return GatewayError(
        Reason.SPEND_LIMITED,
        f"Spend limit: the price of {asked.provider} {asked.model or '(no model)'} is not known, and rule "
        f"'{rule.id}' lets nothing through that it cannot count. Give the price with cf-aig-custom-cost, or "
        "let the rule not apply.",
        rule=rule.id,
    )
