"""Run migrations on the connection that the store hands over (its transaction is the lock)."""

from alembic import context

from ml_backend.jobs.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by copying the table
)
context.run_migrations()
