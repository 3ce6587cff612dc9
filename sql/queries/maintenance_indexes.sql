-- name: maintenance_indexes
select
    coalesce(parent.relname, class.relname)::text as index_name,
    coalesce(parent_table.relname, owner.relname)::text as table_name,
    coalesce(sum(pg_stat_get_numscans(class.oid)), 0)::bigint,
    sum(pg_relation_size(class.oid))::bigint,
    bool_and(entry.indisvalid)
from pg_index as entry
join pg_class as class on class.oid = entry.indexrelid
join pg_class as owner on owner.oid = entry.indrelid
left join pg_inherits as link on link.inhrelid = class.oid
left join pg_class as parent on parent.oid = link.inhparent
left join pg_index as parent_entry on parent_entry.indexrelid = parent.oid
left join pg_class as parent_table on parent_table.oid = parent_entry.indrelid
where
    class.relkind = 'i'
    and class.relnamespace = to_regnamespace(quote_ident(current_schema()))
    and coalesce(parent_table.relname, owner.relname) = any (%(tables)s::text[])
group by 1, 2
order by 2, 1
