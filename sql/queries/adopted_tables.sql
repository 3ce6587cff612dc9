-- name: adopted_tables
-- Tables that were there before pipespan, or that others refer to. As `pipespan_is_adopted_v1`, which an older or a
-- damaged schema does not have.
select known.name
from (
    values
        ('experiments', 'id name status params tags command'),
        ('processing_jobs', 'id experiment_id attempt parent_job_id host boot_id')
) as known (name, columns)
where
    to_regclass(known.name) is not null
    and (
        (
            select string_agg(attribute.attname, ' ' order by attribute.attnum)
            from pg_attribute as attribute
            where attribute.attrelid = to_regclass(known.name) and attribute.attnum between 1 and 6
        ) is distinct from known.columns
        or exists (
            select
            from pg_constraint as link
            join pg_class as class on class.oid = link.conrelid
            where
                link.confrelid = to_regclass(known.name)
                and link.contype = 'f'
                and class.relname !~ '^(pipeline_|pipespan_|processing_jobs$)'
        )
    )
