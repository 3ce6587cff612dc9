"""The schema as a text: from zero it is the same as by steps, on every server, and changes of it are seen.

`golden_schema.txt` is that text. After a change of the schema it is renewed by

    PIPESPAN_TEST_RENEW_GOLDEN=1 python -m pytest tests/store/test_golden.py

and the difference is read before it is committed.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import psycopg

from pipespan.store.postgres.migrate import migrate
from pipespan.store.sqlfiles import open_sql
from tests.store.releases import other_release

GOLDEN = Path(__file__).with_name("golden_schema.txt")

# Names of partitions follow the day; not-null constraints have entries of their own from Postgres 18 on.
DUMP = """
select line from (
    select format('column %s.%s %s%s%s%s', class.relname, attribute.attname,
        format_type(attribute.atttypid, attribute.atttypmod),
        case when attribute.attnotnull then ' not null' else '' end,
        case attribute.attidentity when '' then '' else ' identity ' || attribute.attidentity::text end,
        coalesce(case attribute.attgenerated when '' then ' default ' else ' generated ' end
            || pg_get_expr(def.adbin, def.adrelid), '')) as line
    from pg_class as class
    join pg_attribute as attribute on attribute.attrelid = class.oid and attnum > 0 and not attisdropped
    left join pg_attrdef as def on def.adrelid = class.oid and def.adnum = attribute.attnum
    where class.relnamespace = 'public'::regnamespace and class.relkind in ('r', 'p', 'v', 'm')
        and not class.relispartition
    union all
    select format('table %s %s %s', class.relname, class.relkind, class.reloptions)
    from pg_class as class
    where class.relnamespace = 'public'::regnamespace and class.relkind in ('r', 'p', 'v', 'm', 'S')
        and (not class.relispartition or class.relname like '%_default')
    union all
    select format('constraint %s.%s %s', class.relname, conname, pg_get_constraintdef(con.oid))
    from pg_constraint as con
    join pg_class as class on class.oid = con.conrelid
    where con.connamespace = 'public'::regnamespace and contype <> 'n' and not class.relispartition
    union all
    select 'index ' || pg_get_indexdef(index.indexrelid)
    from pg_index as index
    join pg_class as class on class.oid = index.indrelid
    where class.relnamespace = 'public'::regnamespace and not class.relispartition
    union all
    select format('trigger %s', pg_get_triggerdef(trig.oid)) from pg_trigger as trig where not tgisinternal
    union all
    select format('view %s %s', relname, pg_get_viewdef(oid, true)) from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')
    union all
    select 'function ' || pg_get_functiondef(oid) from pg_proc
    where pronamespace = 'public'::regnamespace and prokind = 'f'
    union all
    select format('comment %s %s %s', objoid::regclass, objsubid, description)
    from pg_description where classoid = 'pg_class'::regclass
        and objoid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
    union all
    select format('setting %s = %s', name, value) from pipespan_settings
) as lines
order by line collate "C"
"""


def dump(dsn: str) -> str:
    with closing(psycopg.connect(dsn)) as connection:
        return "\n".join(line for (line,) in connection.execute(DUMP)) + "\n"


def test_the_schema_from_zero_is_the_golden_one(empty_dsn: str) -> None:
    """What a fresh database gets is what was read and agreed."""
    migrate(empty_dsn)
    found = dump(empty_dsn)
    if os.environ.get("PIPESPAN_TEST_RENEW_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8"), "see the head of this file on how to renew it"


def test_the_schema_by_steps_is_the_golden_one(empty_dsn: str) -> None:
    """A database that was taken from release to release ends with the same schema."""
    files = open_sql().migrations()
    for count in range(1, len(files) + 1):
        migrate(empty_dsn, other_release(*files[:count]))
    assert dump(empty_dsn) == GOLDEN.read_text(encoding="utf-8")
