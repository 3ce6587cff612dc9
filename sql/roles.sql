-- Two roles without login, to be granted to those who log in: `pipespan_writer` for programs that record, and
-- `pipespan_reader` for people and dashboards, who read views and functions and no table. Run by `pipespan db roles`
-- or by psql with the schema on the search path; again after each migration, as it may have brought new views.
--
-- Views give their owner's rights, functions for readers are run with them (security definer): a table that a view
-- is made of stays closed.
do $$
declare
    v_schema text := current_schema();
    v_role text;
    v_object record;
begin
    foreach v_role in array array['pipespan_writer', 'pipespan_reader'] loop
        if not exists (select from pg_roles where rolname = v_role) then
            execute format('create role %I nologin', v_role);
        end if;
        execute format('grant usage on schema %I to %I', v_schema, v_role);
    end loop;
    execute format('grant temporary on database %I to pipespan_writer', current_database());

    for v_object in
        select class.oid::regclass as name, class.relkind as kind, class.relname as plain
        from pg_class as class
        join pg_namespace as namespace on namespace.oid = class.relnamespace
        where
            namespace.nspname = v_schema
            and class.relkind in ('r', 'p', 'v', 'm')
            and not exists (select from pg_depend as made where made.objid = class.oid and made.deptype = 'e')
            and (
                class.relname in ('experiments', 'processing_jobs')
                or class.relname like 'pipeline\_%'
                or class.relname like 'pipespan\_%'
                or class.relkind in ('v', 'm')
            )
    loop
        if v_object.kind in ('v', 'm') then
            execute format('grant select on %s to pipespan_reader, pipespan_writer', v_object.name);
        else
            execute format('revoke all on %s from pipespan_reader', v_object.name);
            execute format('grant select, insert, update on %s to pipespan_writer', v_object.name);
        end if;
    end loop;

    for v_object in
        select function.oid::regprocedure as name, function.proname as plain, function.provolatile as kind
        from pg_proc as function
        join pg_namespace as namespace on namespace.oid = function.pronamespace
        where
            namespace.nspname = v_schema
            and function.prokind = 'f'
            and not exists (select from pg_depend as made where made.objid = function.oid and made.deptype = 'e')
            and (function.proname like 'pipespan\_%' or function.proname like 'get\_%' or function.prosecdef)
    loop
        execute format('grant execute on function %s to pipespan_writer', v_object.name);
        if v_object.kind <> 'v' then
            -- what cannot change anything
            execute format('grant execute on function %s to pipespan_reader', v_object.name);
            if v_object.plain like 'get\_%' then
                execute format(
                    'alter function %s security definer set search_path to %I, pg_temp', v_object.name, v_schema
                );
            end if;
        end if;
    end loop;
    if to_regproc('pipespan_ensure_partitions_v1') is not null then
        -- The writer makes partitions ahead, which only the tables' owner may.
        execute format(
            'alter function %s security definer', 'pipespan_ensure_partitions_v1(integer)'::regprocedure
        );
        execute format(
            'revoke execute on function %s from public', 'pipespan_ensure_partitions_v1(integer)'::regprocedure
        );
    end if;
end
$$;
