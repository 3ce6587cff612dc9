-- name: objects_of_ours
-- What the migrations made, as `drop` names it. A table that was there before keeps its rows and loses what we hung on it.
select 'view', class.oid::regclass::text
from pg_class as class
where
    class.relnamespace = to_regnamespace(quote_ident(current_schema()))
    and class.relkind in ('v', 'm')
    and class.relname = any (%(names)s::text[])
union all
select 'table', class.oid::regclass::text
from pg_class as class
where
    class.relnamespace = to_regnamespace(quote_ident(current_schema()))
    and class.relkind in ('r', 'p')
    and not class.relispartition
    and class.relname = any (%(names)s::text[])
    and not (class.relname = any (%(adopted)s::text[]))
union all
select 'constraint', adopted.oid::regclass::text || ' drop constraint ' || quote_ident(held.conname)
from pg_class as adopted
join pg_constraint as held on held.conrelid = adopted.oid
where
    adopted.relnamespace = to_regnamespace(quote_ident(current_schema()))
    and adopted.relname = any (%(adopted)s::text[])
    and held.conname ~ '^(experiments|processing_jobs)__'
union all
select 'routine', procedure.oid::regprocedure::text
from pg_proc as procedure
where
    procedure.pronamespace = to_regnamespace(quote_ident(current_schema()))
    and procedure.proname = any (%(names)s::text[])
