"""What is written once and for all: audit records, and the content of recipes. The database itself refuses changes."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_REFUSED = "{table}: written records are final"
_CONTENT = "UPDATE OF org_id, name, version, document, content_hash, author"


def upgrade() -> None:
    """Add triggers that refuse to change audit records and recipe documents."""
    if op.get_bind().dialect.name == "postgresql":
        _postgresql()
    else:
        _sqlite()


def _sqlite() -> None:
    for name, event, table in (
        ("audit_update", "UPDATE", "audit"),
        ("audit_delete", "DELETE", "audit"),
        ("recipes_content", _CONTENT, "recipes"),
        ("approvals_update", "UPDATE", "approvals"),
        ("approvals_delete", "DELETE", "approvals"),
    ):
        op.execute(
            f"CREATE TRIGGER final_{name} BEFORE {event} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSED.format(table=table)}'); END"
        )


def _postgresql() -> None:
    op.execute(
        "CREATE FUNCTION labkit_final() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%: written records are final', TG_TABLE_NAME; END $$"
    )
    for table in ("audit", "approvals"):
        op.execute(
            f"CREATE TRIGGER final_{table} BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION labkit_final()"
        )
        op.execute(
            f"CREATE TRIGGER final_{table}_all BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION labkit_final()"
        )
    op.execute(
        f"CREATE TRIGGER final_recipes BEFORE {_CONTENT} ON recipes FOR EACH ROW EXECUTE FUNCTION labkit_final()"
    )
