"""Environment of the `alembic` command, used to write migrations: `alembic -x url=sqlite:////folder/file ...`.

At run time migrations are applied by `rerankd.database.migrate`.
"""

from __future__ import annotations

from alembic import context

from rerankd.database.connection import open_engine
from rerankd.database.migrate import VERSION_TABLE
from rerankd.database.tables import metadata

engine = open_engine(context.get_x_argument(as_dictionary=True)["url"])
with engine.connect().execution_options(writes=True) as connection:
    context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()
