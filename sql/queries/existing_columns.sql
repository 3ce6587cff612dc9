-- name: existing_columns
-- The columns of tables that another program may have made, in the schema where ours would be.
select
    class.relname::text as table_name,
    attribute.attname::text as column_name,
    format_type(attribute.atttypid, null) as type_name,
    attribute.attnotnull and not attribute.atthasdef and attribute.attidentity = '' as is_needed,
    exists (
        select
        from pg_index as index
        where
            index.indrelid = class.oid
            and index.indisunique
            and index.indpred is null
            and index.indkey::text = attribute.attnum::text
    ) as is_unique
from pg_class as class
join pg_attribute as attribute on attribute.attrelid = class.oid
where
    class.relnamespace = to_regnamespace(quote_ident(current_schema()))
    and class.relname in ('experiments', 'processing_jobs')
    and class.relkind in ('r', 'p', 'v', 'm', 'f')
    and attribute.attnum > 0
    and not attribute.attisdropped
order by class.relname, attribute.attnum
