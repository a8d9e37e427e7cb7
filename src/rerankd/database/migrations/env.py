"""For `alembic` by hand, where migrations are written: `alembic -x url=sqlite:////folder/file ...`.

The program itself runs migrations by `rerankd.database.tables.migrate`.
"""

from __future__ import annotations

from alembic import context

from rerankd.database.tables import VERSION_TABLE, metadata, open_engine

engine = open_engine(context.get_x_argument(as_dictionary=True)["url"])
with engine.connect().execution_options(writes=True) as connection:
    context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()
