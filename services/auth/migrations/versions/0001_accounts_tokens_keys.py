"""
Accounts, tokens, keys.
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
        "accounts",
        sa.Column("id", key_text(64), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("unified", sa.Boolean(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
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
        "generation",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    op.create_table(
        "vault",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("master_key_id", key_text(8), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault")),
    )
    op.create_table(
        "provider_configs",
        sa.Column("id", key_text(64), nullable=False),
        sa.Column("account_id", key_text(64), nullable=False),
        sa.Column("gateway_id", key_text(64), nullable=False),
        sa.Column("provider", key_text(64), nullable=False),
        sa.Column("alias", key_text(64), nullable=False),
        sa.Column("default_config", sa.Boolean(), nullable=False),
        sa.Column("secret_ref", sa.Text(), nullable=False),
        sa.Column("secret_preview", sa.String(length=8), nullable=False),
        sa.Column("secret_fingerprint", sa.String(length=16), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("rate_limit", sa.BigInteger(), nullable=True),
        sa.Column("rate_limit_period_ms", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at_us", sa.BigInteger(), nullable=True),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_data_key", sa.LargeBinary(), nullable=True),
        sa.Column("master_key_id", key_text(8), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_provider_configs_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_configs")),
    )
    op.create_index(
        "provider_configs_by_master_key", "provider_configs", ["master_key_id", "id"], unique=False
    )
    op.create_index(
        "provider_configs_by_pool",
        "provider_configs",
        ["account_id", "gateway_id", "provider", "alias"],
        unique=False,
    )
    op.create_table(
        "tokens",
        sa.Column("id", key_text(64), nullable=False),
        sa.Column("account_id", key_text(64), nullable=True),
        sa.Column("user_id", key_text(120), nullable=True),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("grants", sa.Text(), nullable=False),
        sa.Column("restrictions", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("bootstrap", sa.Boolean(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("not_before_us", sa.BigInteger(), nullable=True),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_us", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(account_id IS NULL) <> (user_id IS NULL)", name=op.f("ck_tokens_one_owner")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_tokens_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_index("tokens_by_account", "tokens", ["account_id", "created_at_us", "id"], unique=False)
    op.create_index("tokens_by_user", "tokens", ["user_id", "created_at_us", "id"], unique=False)
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
