"""
Gateways, providers, routes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kit.database_tables import key_text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Change the tables."""
    op.create_table(
        "audit",
        sa.Column("id", key_text(36), nullable=False),
        sa.Column("account_id", key_text(64), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("token_id", key_text(64), nullable=False),
        sa.Column("token_name", sa.String(length=256), nullable=False),
        sa.Column("user_id", key_text(64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("interface", sa.String(length=16), nullable=False),
        sa.Column("user_agent", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("resource_type", sa.String(length=64), nullable=False),
        sa.Column("resource_id", key_text(256), nullable=False),
        sa.Column("gateway_id", key_text(64), nullable=False),
        sa.Column("old_json", sa.Text(), nullable=False),
        sa.Column("new_json", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("audit_by_account", "audit", ["account_id", "id"], unique=False)
    op.create_table(
        "custom_providers",
        sa.Column("id", key_text(36), nullable=False),
        sa.Column("account_id", key_text(64), nullable=False),
        sa.Column("slug", key_text(50), nullable=False),
        sa.Column("name", key_text(200), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("beta", sa.Boolean(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_custom_providers")),
    )
    op.create_index("custom_providers_by_slug", "custom_providers", ["account_id", "slug"], unique=True)
    op.create_table(
        "gateways",
        sa.Column("account_id", key_text(64), nullable=False),
        sa.Column("id", key_text(64), nullable=False),
        sa.Column("internal_id", sa.String(length=36), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("documents", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_gateways")),
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    op.create_table(
        "routes",
        sa.Column("id", key_text(36), nullable=False),
        sa.Column("account_id", key_text(64), nullable=False),
        sa.Column("gateway_id", key_text(64), nullable=False),
        sa.Column("name", key_text(64), nullable=False),
        sa.Column("version_id", key_text(36), nullable=False),
        sa.Column("deployment_id", key_text(36), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "gateway_id"],
            ["gateways.account_id", "gateways.id"],
            name=op.f("fk_routes_account_id_gateway_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routes")),
    )
    op.create_index("routes_by_name", "routes", ["account_id", "gateway_id", "name"], unique=True)
    op.create_table(
        "route_deployments",
        sa.Column("id", key_text(36), nullable=False),
        sa.Column("route_id", key_text(36), nullable=False),
        sa.Column("version_id", key_text(36), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["route_id"], ["routes.id"], name=op.f("fk_route_deployments_route_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_deployments")),
    )
    op.create_index("route_deployments_by_route", "route_deployments", ["route_id", "id"], unique=False)
    op.create_table(
        "route_versions",
        sa.Column("id", key_text(36), nullable=False),
        sa.Column("route_id", key_text(36), nullable=False),
        sa.Column("elements", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["route_id"], ["routes.id"], name=op.f("fk_route_versions_route_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_versions")),
    )
    op.create_index("route_versions_by_route", "route_versions", ["route_id", "id"], unique=False)
    statements = {
        "sqlite": (
            "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END",
            "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END",
            "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END",
        ),
        "postgresql": (
            "CREATE FUNCTION audit_only_added_to() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the audit log is only added to''; END'",
            "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_only_added_to()",
        ),
    }
    for statement in statements[op.get_context().dialect.name]:
        op.execute(statement)
