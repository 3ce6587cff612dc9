-- name: maintenance_dead
select
    coalesce(parent.relname, stats.relname)::text,
    sum(stats.n_live_tup)::bigint,
    sum(stats.n_dead_tup)::bigint,
    max(greatest(stats.last_vacuum, stats.last_autovacuum))
from pg_stat_user_tables as stats
left join pg_inherits as link on link.inhrelid = stats.relid
left join pg_class as parent on parent.oid = link.inhparent
where
    stats.schemaname = current_schema()
    and coalesce(parent.relname, stats.relname) = any (%(tables)s::text[])
    and not exists (select from pg_partitioned_table as whole where whole.partrelid = stats.relid)
group by 1
order by 1
