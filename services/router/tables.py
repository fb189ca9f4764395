"""The tables of router's database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Table,
    Text,
)

from kit.audit import AuditTrail
from kit.database import NAMING, Migrations, key_text
from kit.generation import GenerationCounter

__all__ = [
    "AUDIT",
    "CUSTOM_PROVIDERS",
    "GATEWAYS",
    "GENERATION",
    "METADATA",
    "MIGRATIONS",
    "ROUTES",
    "ROUTE_DEPLOYMENTS",
    "ROUTE_VERSIONS",
]

METADATA: Final = MetaData(naming_convention=NAMING)
# Of everything that a plan depends on.
GENERATION: Final = GenerationCounter(METADATA)
AUDIT: Final = AuditTrail(METADATA)
MIGRATIONS: Final = Migrations(package="services.router.migrations", head="0001", oldest="0001")

# Settings are one JSON document: a new setting needs no new column, and a setting that only a newer
# release knows survives a change made by an older one. Objects among them stand apart, since plans, which
# are asked for all the time, need none of them.
GATEWAYS: Final = Table(
    "gateways",
    METADATA,
    Column("account_id", key_text(64), primary_key=True),
    Column("id", key_text(64), primary_key=True),
    Column("internal_id", String(36), nullable=False),
    Column("settings", Text, nullable=False),
    Column("documents", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

# What lists are sorted and chosen by has columns, the rest is one JSON document likewise. `folded` is slug
# and name without difference of case, in which searches look: databases differ in what they fold.
CUSTOM_PROVIDERS: Final = Table(
    "custom_providers",
    METADATA,
    Column("id", key_text(36), primary_key=True),
    Column("account_id", key_text(64), nullable=False),
    Column("slug", key_text(50), nullable=False),
    Column("name", key_text(200), nullable=False),
    Column("folded", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("beta", Boolean, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)
Index("custom_providers_by_slug", CUSTOM_PROVIDERS.c.account_id, CUSTOM_PROVIDERS.c.slug, unique=True)

# The version that answers and the deployment that made it so stand with the route: there is always one of
# each.
ROUTES: Final = Table(
    "routes",
    METADATA,
    Column("id", key_text(36), primary_key=True),
    Column("account_id", key_text(64), nullable=False),
    Column("gateway_id", key_text(64), nullable=False),
    Column("name", key_text(64), nullable=False),
    Column("version_id", key_text(36), nullable=False),
    Column("deployment_id", key_text(36), nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["account_id", "gateway_id"], [GATEWAYS.c.account_id, GATEWAYS.c.id], ondelete="CASCADE"
    ),
)
Index("routes_by_name", ROUTES.c.account_id, ROUTES.c.gateway_id, ROUTES.c.name, unique=True)

ROUTE_VERSIONS: Final = Table(
    "route_versions",
    METADATA,
    Column("id", key_text(36), primary_key=True),
    Column("route_id", key_text(36), ForeignKey(ROUTES.c.id, ondelete="CASCADE"), nullable=False),
    Column("elements", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
)
Index("route_versions_by_route", ROUTE_VERSIONS.c.route_id, ROUTE_VERSIONS.c.id)

ROUTE_DEPLOYMENTS: Final = Table(
    "route_deployments",
    METADATA,
    Column("id", key_text(36), primary_key=True),
    Column("route_id", key_text(36), ForeignKey(ROUTES.c.id, ondelete="CASCADE"), nullable=False),
    Column("version_id", key_text(36), nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
)
Index("route_deployments_by_route", ROUTE_DEPLOYMENTS.c.route_id, ROUTE_DEPLOYMENTS.c.id)
