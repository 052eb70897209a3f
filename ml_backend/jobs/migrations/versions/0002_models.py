"""Fine-tuned models: the audit share and the model of a project, fine-tunes, and their models."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns and two tables. A project that was connected before has no audit."""
    op.add_column(
        "projects", sa.Column("audit_share", sa.Float(), server_default="0", nullable=False)
    )
    op.add_column("projects", sa.Column("model", sa.Text(), nullable=True))
    _create_fine_tunes()
    _create_models()


def _create_fine_tunes() -> None:
    op.create_table(
        "fine_tunes",
        sa.Column(
            "fine_tune_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.project_id"],
            name=op.f("fk_fine_tunes_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("fine_tune_id", name=op.f("pk_fine_tunes")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_fine_tunes_project_id_fine_tune_id"), "fine_tunes", ["project_id", "fine_tune_id"]
    )


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("project_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.project_id"],
            name=op.f("fk_models_projects"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "model", name=op.f("pk_models")),
    )
