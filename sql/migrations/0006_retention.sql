-- supersedes: 3c128ba8d347ba26e99ff79092a89054220210a47a2bf8ba9d8eef36874e4ca2
-- What goes after a time, and what stays: by age, by size, by experiment.
--
-- Rows of logs, events and metrics go by partition: one whose rows all may go is dropped; of one that holds rows that
-- stay (errors, pinned experiments) these are copied into a small table first, which then takes its place. The copy
-- is made while writers and readers go on; then the partitioned table is locked for the few milliseconds of the
-- exchange. Whoever waits for that lock makes others wait behind it, so it is asked for in short tries.
--
-- Two deleters take turns by an advisory lock that each transaction holds, so it works behind a pooler too.

-- The rules stand in it as JSON under the name `retention`, and when they were applied under `retention_run`.
create table if not exists pipespan_settings (
    name text primary key,
    value text not null,
    updated_at timestamptz not null default now()
);

alter table experiments add column if not exists pinned boolean not null default false;

create index if not exists experiments__pinned on experiments (id) where pinned;

comment on column experiments.pinned is 'Retention leaves the experiment and all of its rows alone.';

-- Of the ledger, what has not moved for long goes too.
create index if not exists pipespan_streams__updated_at on pipespan_streams (updated_at);

-- Up to which row a partition is known to hold nothing that could go, so that the next look is short.
create table pipespan_thinned (
    partition text primary key,
    keeps_errors boolean not null,
    last_id bigint not null,
    thinned_at timestamptz not null default now()
);

comment on table pipespan_thinned is 'Partitions from which all that may go has gone.';

-- All partitions of the tables that only grow, or only the one that is named; the default ones have no start and end.
create function pipespan_partition_sizes_v1(p_only oid default null) returns table (
    parent text, partition text, relation oid, starts_at timestamptz, ends_at timestamptz, is_default boolean,
    row_estimate bigint, bytes bigint
)
language sql stable
set search_path from current
-- bounds travel as text: in other styles a zone's name may mean another zone
set datestyle to 'ISO, YMD'
set timezone to 'UTC'
as $$
    select
        parent.relname::text,
        child.relname::text,
        child.oid,
        (regexp_match(bound.text, 'FROM \(''([^'']+)''\)'))[1]::timestamptz,
        (regexp_match(bound.text, 'TO \(''([^'']+)''\)'))[1]::timestamptz,
        bound.text = 'DEFAULT',
        -- of a table that was never analysed the size tells it: a log record takes about 500 bytes
        greatest(
            child.reltuples::bigint,
            pg_stat_get_live_tuples(child.oid),
            case when child.reltuples < 0 then pg_relation_size(child.oid) / 500 else 0 end
        ),
        coalesce(pg_total_relation_size(child.oid), 0)
    from pg_inherits as link
    join pg_class as parent on parent.oid = link.inhparent
    join pg_class as child on child.oid = link.inhrelid
    cross join lateral (select pg_get_expr(child.relpartbound, child.oid) as text) as bound
    where
        link.inhparent in ('pipeline_logs'::regclass, 'pipeline_events'::regclass, 'pipeline_metrics'::regclass)
        and (p_only is null or link.inhrelid = p_only)
        and bound.text is not null
    order by 1, 4 nulls first
$$;

-- Size of each table with its indexes and partitions. Space that deleted rows left in a table will be used again and
-- is not counted in `live_bytes`: it must not drive out more rows.
create function pipespan_sizes_v1() returns table (table_name text, row_estimate bigint, bytes bigint, live_bytes bigint)
language sql stable
set search_path from current
as $$
    select part.parent, sum(part.row_estimate)::bigint, sum(part.bytes)::bigint, sum(part.bytes)::bigint
    from pipespan_partition_sizes_v1() as part
    group by part.parent
    union all
    select
        class.relname::text,
        greatest(class.reltuples::bigint, pg_stat_get_live_tuples(class.oid), 0),
        whole.bytes,
        (whole.bytes * least(1, coalesce(
            case when class.reltuples >= 0 then class.reltuples * tuple.bytes / nullif(pg_relation_size(class.oid), 0) end,
            1
        )))::bigint
    from pg_class as class
    cross join lateral (select pg_total_relation_size(class.oid) as bytes) as whole
    -- 28 bytes of header and pointer, a page that is filled to 7 tenths
    cross join lateral (
        select (28 + coalesce(sum(stats.avg_width), 200)) / 0.7 as bytes
        from pg_stats as stats
        where
            stats.schemaname = (select nspname from pg_namespace where oid = class.relnamespace)
            and stats.tablename = class.relname
    ) as tuple
    where class.oid in (
        'experiments'::regclass, 'processing_jobs'::regclass, 'pipeline_progress'::regclass,
        'pipespan_streams'::regclass
    )
$$;

-- Takes a lock on a table in short tries, so that nobody waits long behind this one; gives up after some seconds.
create function pipespan_lock_v1(p_relation oid, p_mode text) returns void
language plpgsql
set search_path from current
set lock_timeout to '40ms'
as $$
begin
    for v_try in 1..80 loop
        begin
            execute format('lock table only %s in %s mode', p_relation::regclass, p_mode);
            return;
        exception
            when lock_not_available then
                if v_try = 80 then
                    raise;
                end if;
        end;
        perform pg_sleep(0.01 + random() * 0.04);
    end loop;
end
$$;

-- Which rows of a partition stay, as the text of a condition.
create function pipespan_staying_v1(p_parent text, p_keeps_errors boolean) returns text
language sql immutable
as $$
    select
        case when p_parent = 'pipeline_logs' and p_keeps_errors then 'level in (''ERROR'', ''CRITICAL'') or ' else '' end
        || 'experiment_id in (select pinned.id from experiments as pinned where pinned.pinned)'
$$;

-- Copies rows that stay, from after one id up to another, into the table that is to take a partition's place.
create function pipespan_copy_staying_v1(
    p_relation oid, p_parent text, p_target text, p_keeps_errors boolean, p_after bigint, p_up_to bigint
) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_columns text;
    v_errors text := 'false';
    v_rows bigint;
begin
    select string_agg(quote_ident(attribute.attname), ', ' order by attribute.attnum)
    into strict v_columns
    from pg_attribute as attribute
    where
        attribute.attrelid = p_relation
        and attribute.attnum > 0
        and not attribute.attisdropped
        and attribute.attgenerated = '';
    if p_parent = 'pipeline_logs' and p_keeps_errors then
        v_errors := 'level in (''ERROR'', ''CRITICAL'')';
    end if;
    -- two queries, as each finds its rows by an index of its own
    execute format(
        'insert into %1$s (%2$s)
        select %2$s from %3$s where %4$s and id > $1 and id <= $2
        union all
        select %2$s from %3$s
        where
            experiment_id = any (array(select pinned.id from experiments as pinned where pinned.pinned))
            and not (%4$s) and id > $1 and id <= $2',
        p_target, v_columns, p_relation::regclass, v_errors
    ) using p_after, p_up_to;
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;

-- Makes the table that is to take a partition's place; returns up to which id it has the rows that stay, null where
-- nothing can stay and there is no such table.
create function pipespan_stage_partition_v1(p_relation oid, p_keeps_errors boolean) returns bigint
language plpgsql
set search_path from current
set datestyle to 'ISO, YMD'
set timezone to 'UTC'
as $$
declare
    v_part record;
    v_target text;
    v_last bigint;
begin
    select part.*, namespace.nspname as schema
    into strict v_part
    from pipespan_partition_sizes_v1(p_relation) as part
    join pg_class as class on class.oid = part.relation
    join pg_namespace as namespace on namespace.oid = class.relnamespace;
    v_target := format('%I.%I', v_part.schema, v_part.partition || '_new');

    if not p_keeps_errors and not exists (select from experiments as pinned where pinned.pinned) then
        return null;
    end if;

    begin
        -- Writers lock the partitioned table before they draw an id. So while this lock is held no row is in flight,
        -- and all that come later have higher ids. It is let go at once.
        perform pipespan_lock_v1(v_part.parent::regclass, 'share');
        execute format(
            'select case when is_called then last_value else 0 end from %s',
            pg_get_serial_sequence(v_part.parent::regclass::text, 'id')
        ) into strict v_last;
        raise exception using errcode = 'PSPAN', message = 'let go';
    exception
        when sqlstate 'PSPAN' then null;
    end;

    execute format('create table %s (like %s including all excluding identity)', v_target, p_relation::regclass);
    -- spares a look at each row when the table is attached
    execute format(
        'alter table %s add constraint bounds check (timestamp >= %L and timestamp < %L)',
        v_target, v_part.starts_at, v_part.ends_at
    );
    -- ids that were given by hand may be higher than the sequence: they are copied when nobody can write
    perform pipespan_copy_staying_v1(p_relation, v_part.parent, v_target, p_keeps_errors, -9223372036854775808, v_last);
    execute format('analyze %s', v_target);
    return v_last;
end
$$;

-- Puts the staged table into the place of a partition, or drops both when nothing stays. The caller holds the lock.
create function pipespan_swap_partition_v1(p_relation oid, p_keeps_errors boolean, p_last_id bigint) returns bigint
language plpgsql
set search_path from current
set datestyle to 'ISO, YMD'
set timezone to 'UTC'
as $$
declare
    v_part record;
    v_target text;
    v_has_rows boolean := false;
begin
    select part.*, namespace.nspname as schema
    into strict v_part
    from pipespan_partition_sizes_v1(p_relation) as part
    join pg_class as class on class.oid = part.relation
    join pg_namespace as namespace on namespace.oid = class.relnamespace;
    v_target := format('%I.%I', v_part.schema, v_part.partition || '_new');

    if p_last_id is not null then
        perform pipespan_copy_staying_v1(
            p_relation, v_part.parent, v_target, p_keeps_errors, p_last_id, 9223372036854775807
        );
        execute format('select exists (select from %s)', v_target) into strict v_has_rows;
    end if;
    execute format(
        case when v_has_rows or p_last_id is null then 'drop table %1$s' else 'drop table %1$s, %2$s' end,
        p_relation::regclass, v_target
    );
    if not v_has_rows then
        delete from pipespan_thinned as known where known.partition = v_part.partition;
        return 0;
    end if;
    execute format('alter table %s rename to %I', v_target, v_part.partition);
    v_target := format('%I.%I', v_part.schema, v_part.partition);
    execute format(
        'alter table %s attach partition %s for values from (%L) to (%L)',
        v_part.parent::regclass, v_target, v_part.starts_at, v_part.ends_at
    );
    execute format('alter table %s drop constraint bounds', v_target);
    insert into pipespan_thinned as known (partition, keeps_errors, last_id)
    values (v_part.partition, p_keeps_errors, p_last_id)
    on conflict (partition) do update set
        keeps_errors = excluded.keeps_errors, last_id = excluded.last_id, thinned_at = now();
    return pg_total_relation_size(v_target::regclass);
end
$$;

-- Whether a partition holds anything that may go, as far as that is not known already.
create function pipespan_has_stale_v1(p_relation oid, p_keeps_errors boolean) returns boolean
language plpgsql
set search_path from current
as $$
declare
    v_part record;
    v_after bigint;
    v_last bigint;
    v_found boolean;
begin
    select part.parent, part.partition into strict v_part
    from pipespan_partition_sizes_v1(p_relation) as part;
    select known.last_id into v_after
    from pipespan_thinned as known
    where known.partition = v_part.partition and known.keeps_errors = p_keeps_errors;
    execute format('select max(id) from %s', p_relation::regclass) into v_last;
    if v_last is null and not p_keeps_errors then
        return true; -- an empty table may go
    end if;
    execute format(
        'select exists (select from %s where ($1 is null or id > $1) and not (%s))',
        p_relation::regclass, pipespan_staying_v1(v_part.parent, p_keeps_errors)
    ) into strict v_found using v_after;
    if not v_found then
        insert into pipespan_thinned as known (partition, keeps_errors, last_id)
        values (v_part.partition, p_keeps_errors, coalesce(v_last, v_after, 0))
        on conflict (partition) do update set keeps_errors = excluded.keeps_errors, last_id = excluded.last_id
        where (known.keeps_errors, known.last_id) is distinct from (excluded.keeps_errors, excluded.last_id);
    end if;
    return v_found;
end
$$;

-- How many rows of a partition may go; null bounds for those that pass no time.
create function pipespan_count_stale_v1(p_relation oid, p_mild_before timestamptz, p_rest_before timestamptz)
returns bigint
language plpgsql stable
set search_path from current
as $$
declare
    v_parent text;
    v_rows bigint;
begin
    select part.parent into strict v_parent from pipespan_partition_sizes_v1(p_relation) as part;
    execute format(
        'select count(*) from %s where (timestamp < $1 and not (%s)) or (timestamp < $2 and not (%s))',
        p_relation::regclass,
        pipespan_staying_v1(v_parent, true),
        pipespan_staying_v1(v_parent, false)
    ) into strict v_rows using case when v_parent = 'pipeline_logs' then p_mild_before end, p_rest_before;
    return v_rows;
end
$$;

-- Each statement must see what was committed before it: a copy would lack rows else.
create function pipespan_begin_deleting_v1() returns void
language plpgsql
set search_path from current
set lock_timeout to '60s'
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'rows are deleted in transactions of level read committed only'
            using errcode = 'feature_not_supported', hint = 'set transaction isolation level read committed';
    end if;
    perform pg_advisory_xact_lock(hashtext('pipespan retention'));
end
$$;

-- Lets go what may go from one partition: rows below ERROR if it is older than p_mild_before, all if it is older than
-- p_rest_before; never rows of pinned experiments. Returns how much that was; nothing if there was nothing to do.
create function pipespan_prune_partition_v1(
    p_relation oid, p_mild_before timestamptz, p_rest_before timestamptz
) returns table (partition text, rows_estimate bigint, bytes bigint)
language plpgsql
set search_path from current
as $$
declare
    v_part record;
    v_keeps_errors boolean;
    v_last bigint;
    v_left_bytes bigint;
    v_left_rows bigint := 0;
    v_default_bytes bigint;
begin
    perform pipespan_begin_deleting_v1();
    select part.* into v_part
    from pipespan_partition_sizes_v1(p_relation) as part
    where not part.is_default;
    if not found or v_part.ends_at is null then
        return; -- somebody else was quicker
    end if;
    if v_part.ends_at <= p_rest_before then
        v_keeps_errors := false;
    elsif v_part.parent = 'pipeline_logs' and v_part.ends_at <= p_mild_before then
        v_keeps_errors := true;
    else
        return;
    end if;
    if not pipespan_has_stale_v1(p_relation, v_keeps_errors) then
        return;
    end if;

    v_default_bytes := pg_relation_size((quote_ident(v_part.parent || '_default'))::regclass);
    if v_default_bytes > 16777216 then
        -- Attaching a partition reads the default one whole, with all locks held; so here rows are deleted.
        execute format(
            'delete from only %s where not (%s)',
            p_relation::regclass, pipespan_staying_v1(v_part.parent, v_keeps_errors)
        );
        get diagnostics v_left_rows = row_count;
        return query select v_part.partition, v_left_rows, 0::bigint;
        return;
    end if;

    v_last := pipespan_stage_partition_v1(p_relation, v_keeps_errors);
    perform pipespan_lock_v1(v_part.parent::regclass, 'access exclusive');
    v_left_bytes := pipespan_swap_partition_v1(p_relation, v_keeps_errors, v_last);
    if v_left_bytes > 0 then
        select greatest(class.reltuples, 0)::bigint into v_left_rows
        from pg_class as class
        where class.oid = to_regclass(quote_ident(v_part.partition));
    end if;
    return query select
        v_part.partition, greatest(v_part.row_estimate - v_left_rows, 0), greatest(v_part.bytes - v_left_bytes, 0);
end
$$;

-- Drops partitions of one table that may go whole, together, as a lock is had once and not for each: where all are
-- older than p_rest_before and no experiment is pinned. Returns nothing where that does not hold.
create function pipespan_drop_partitions_v1(p_relations oid[], p_rest_before timestamptz)
returns table (partition text, rows_estimate bigint, bytes bigint)
language plpgsql
set search_path from current
as $$
declare
    v_found record;
begin
    perform pipespan_begin_deleting_v1();
    select
        array_agg(part.partition) as partitions,
        array_agg(part.row_estimate) as row_estimates,
        array_agg(part.bytes) as sizes,
        string_agg(part.relation::regclass::text, ', ') as names,
        min(part.parent) as parent,
        count(distinct part.parent) as parents,
        bool_and(coalesce(part.ends_at <= p_rest_before, false) and not part.is_default) as are_old
    into strict v_found
    from unnest(p_relations) as one (relation)
    cross join lateral pipespan_partition_sizes_v1(one.relation) as part;
    if
        v_found.are_old is not true
        or v_found.parents <> 1
        or exists (select from experiments as pinned where pinned.pinned)
    then
        return;
    end if;
    perform pipespan_lock_v1(v_found.parent::regclass, 'access exclusive');
    execute format('drop table %s', v_found.names);
    delete from pipespan_thinned as known where known.partition = any (v_found.partitions);
    return query
    select one.name, one.row_estimate, one.size
    from unnest(v_found.partitions, v_found.row_estimates, v_found.sizes) as one (name, row_estimate, size);
end
$$;

-- Deletes at most p_limit entries of the ledger that have not moved since, and never of the last 180 days: their
-- processes are gone, and their rows delivered or given up. Returns how many.
create function pipespan_prune_streams_v1(p_before timestamptz, p_limit integer) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_rows bigint;
begin
    delete from pipespan_streams as known
    where (known.stream_id, known.lane) in (
        select old.stream_id, old.lane
        from pipespan_streams as old
        where old.updated_at < least(p_before, now() - interval '180 days')
        limit p_limit
    );
    get diagnostics v_rows = row_count;
    return v_rows;
end
$$;

-- Deletes at most p_limit rows of the default partitions, by the same rules; returns how many.
create function pipespan_prune_default_v1(
    p_mild_before timestamptz, p_rest_before timestamptz, p_limit integer
) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_part record;
    v_rows bigint;
    v_total bigint := 0;
begin
    perform pipespan_begin_deleting_v1();
    for v_part in
        select part.relation, part.parent from pipespan_partition_sizes_v1() as part where part.is_default
    loop
        execute format(
            'delete from only %1$s
            where ctid = any (array(
                select ctid from only %1$s
                where
                    (
                        (timestamp < $1 and not (%2$s))
                        or (timestamp < $2 and not (%3$s))
                    )
                limit $3
            ))',
            v_part.relation::regclass,
            pipespan_staying_v1(v_part.parent, true),
            pipespan_staying_v1(v_part.parent, false)
        ) using case when v_part.parent = 'pipeline_logs' then p_mild_before end, p_rest_before, p_limit - v_total;
        get diagnostics v_rows = row_count;
        v_total := v_total + v_rows;
        exit when v_total >= p_limit;
    end loop;
    return v_total;
end
$$;

-- Drops the logs of days that are wholly older than so many days, errors too; rows of pinned experiments stay.
create function cleanup_old_logs(days integer)
returns table (partition text, rows_estimate bigint, bytes bigint)
language plpgsql
set search_path from current
as $$
declare
    v_before timestamptz;
    v_parts oid[] := '{}';
    v_names text[] := '{}';
    v_rows bigint[] := '{}';
    v_bytes bigint[] := '{}';
    v_last bigint[] := '{}';
    v_left bigint[] := '{}';
    v_whole text;
    v_deleted bigint;
    v_part record;
begin
    if days is null or days < 0 or days > 1000000 then
        raise exception 'logs cannot be older than % days', coalesce(days::text, 'null')
            using errcode = 'invalid_parameter_value', hint = 'give a number of days from 0 on';
    end if;
    v_before := now() - make_interval(days => days);
    perform pipespan_begin_deleting_v1();
    -- All that takes its time comes first: from the lock on, writers wait.
    for v_part in
        select part.*
        from pipespan_partition_sizes_v1() as part
        where part.parent = 'pipeline_logs' and not part.is_default and part.ends_at <= v_before
    loop
        continue when not pipespan_has_stale_v1(v_part.relation, false);
        v_parts := v_parts || v_part.relation;
        v_names := v_names || v_part.partition;
        v_rows := v_rows || v_part.row_estimate;
        v_bytes := v_bytes || v_part.bytes;
        v_last := v_last || pipespan_stage_partition_v1(v_part.relation, false);
    end loop;
    execute format(
        'delete from only %s where timestamp < $1 and not (%s)',
        'pipeline_logs_default'::regclass, pipespan_staying_v1('pipeline_logs', false)
    ) using date_trunc('day', v_before at time zone 'UTC') at time zone 'UTC';
    get diagnostics v_deleted = row_count;
    if cardinality(v_parts) > 0 then
        perform pipespan_lock_v1('pipeline_logs'::regclass, 'access exclusive');
    end if;
    select string_agg(one.relation::regclass::text, ', ')
    into v_whole
    from unnest(v_parts, v_last) as one (relation, last_id)
    where one.last_id is null;
    if v_whole is not null then
        execute format('drop table %s', v_whole); -- in one statement, as it takes less time
    end if;
    for i in 1..cardinality(v_parts) loop
        v_left := v_left || case
            when v_last[i] is null then 0
            else pipespan_swap_partition_v1(v_parts[i], false, v_last[i])
        end;
    end loop;
    delete from pipespan_thinned as known
    where known.partition = any (v_names) and to_regclass(quote_ident(known.partition)) is null;
    return query
    select one.name, one.rows_estimate, greatest(one.bytes - one.left_bytes, 0)
    from unnest(v_names, v_rows, v_bytes, v_left) as one (name, rows_estimate, bytes, left_bytes);
    if v_deleted > 0 then
        return query select 'pipeline_logs_default'::text, v_deleted, 0::bigint;
    end if;
end
$$;

-- Whether a table was there before pipespan and only got columns: its rows are not ours to delete.
create function pipespan_is_adopted_v1(p_table text) returns boolean
language sql stable
set search_path from current
as $$
    select
        -- a table of ours begins with these columns, in this order
        (
            select string_agg(attribute.attname, ' ' order by attribute.attnum)
            from pg_attribute as attribute
            where attribute.attrelid = p_table::regclass and attribute.attnum between 1 and 6
        ) is distinct from case p_table
            when 'experiments' then 'id name status params tags command'
            when 'processing_jobs' then 'id experiment_id attempt parent_job_id host boot_id'
        end
        or exists (
            select
            from pg_constraint as link
            join pg_class as class on class.oid = link.conrelid
            where
                link.confrelid = p_table::regclass
                and link.contype = 'f'
                and class.relname !~ '^(pipeline_|pipespan_|processing_jobs$)'
        )
$$;

-- When an experiment last showed any life.
create function pipespan_last_sign_v1(p_experiment_id uuid) returns timestamptz
language sql stable
set search_path from current
as $$
    select coalesce(
        greatest(
            experiment.started_at,
            experiment.ended_at,
            (
                select max(greatest(job.started_at, job.heartbeat_at, job.progress_at, job.ended_at))
                from processing_jobs as job
                where job.experiment_id = experiment.id
            )
        ),
        experiment.created_at
    )
    from experiments as experiment
    where experiment.id = p_experiment_id
$$;

-- The experiments that may go as a whole: without a sign of life since p_before, or not among the newest p_keep_runs
-- of their name. Never pinned ones, nor by number those that may still run, nor what pipespan knows nothing of.
create function pipespan_doomed_v1(p_before timestamptz, p_keep_runs integer)
returns table (experiment_id uuid, name text, status text, last_sign timestamptz)
language sql stable
set search_path from current
as $$
    select ranked.id, ranked.name, ranked.status, ranked.last_sign
    from (
        select
            experiment.id,
            experiment.name,
            experiment.status,
            experiment.pinned,
            experiment.attempt,
            pipespan_last_sign_v1(experiment.id) as last_sign,
            row_number() over (
                partition by experiment.name
                order by coalesce(experiment.started_at, experiment.created_at) desc, experiment.id
            ) as age_rank
        from experiments as experiment
    ) as ranked
    where
        not ranked.pinned
        and (
            ranked.last_sign < p_before
            or (
                ranked.age_rank > p_keep_runs
                and (pipespan_is_terminal_v1(ranked.status) or ranked.last_sign < now() - interval '1 day')
            )
        )
        and (
            not pipespan_is_adopted_v1('experiments')
            or exists (select from pipeline_progress as node where node.experiment_id = ranked.id)
            or exists (select from pipeline_logs as log where log.experiment_id = ranked.id)
        )
    order by ranked.last_sign, ranked.id
$$;

-- Deletes at most p_limit rows of experiments, and the experiments themselves with the last of them; returns how many
-- rows went, 0 when nothing is left to do. Those that were pinned meanwhile, or showed life after p_seen, stay.
create function pipespan_delete_experiments_v1(p_ids uuid[], p_seen timestamptz, p_limit integer) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_ids uuid[];
    v_part record;
    v_rows bigint;
    v_total bigint := 0;
begin
    -- whole trees go, so there is nothing to sum up
    perform set_config('pipespan.rolling_up', 'on', true);
    perform pipespan_begin_deleting_v1();
    -- in the order in which writers take these locks
    perform from experiments as experiment where experiment.id = any (p_ids) order by experiment.id for update;
    v_ids := array(
        select experiment.id
        from experiments as experiment
        where
            experiment.id = any (p_ids)
            and not experiment.pinned
            and pipespan_last_sign_v1(experiment.id) <= p_seen
    );
    for v_part in
        select part.relation::regclass as relation
        from pipespan_partition_sizes_v1() as part
        union all
        select 'pipeline_progress'::regclass
        union all
        select 'pipespan_days'::regclass
        union all
        select 'processing_jobs'::regclass where not pipespan_is_adopted_v1('processing_jobs')
    loop
        execute format(
            'delete from only %1$s
            where ctid = any (array(select ctid from only %1$s where experiment_id = any ($1) limit $2))',
            v_part.relation
        ) using v_ids, p_limit - v_total;
        get diagnostics v_rows = row_count;
        v_total := v_total + v_rows;
        if v_total >= p_limit then
            perform set_config('pipespan.rolling_up', 'off', true);
            return v_total;
        end if;
    end loop;
    if not pipespan_is_adopted_v1('experiments') then
        delete from experiments as experiment where experiment.id = any (v_ids);
        get diagnostics v_rows = row_count;
        v_total := v_total + v_rows;
    end if;
    perform set_config('pipespan.rolling_up', 'off', true);
    return v_total;
end
$$;

-- Marks an experiment so that retention leaves it alone, or takes the mark away; false if there is no such one.
create function pipespan_pin_v1(p_experiment_id uuid, p_pinned boolean) returns boolean
language plpgsql
set search_path from current
as $$
declare
    v_rows bigint;
begin
    -- not while rows are being deleted: afterwards the answer holds
    perform pipespan_begin_deleting_v1();
    update experiments as experiment set pinned = p_pinned where experiment.id = p_experiment_id;
    get diagnostics v_rows = row_count;
    if not p_pinned then
        delete from pipespan_thinned; -- what stayed for its sake may go now
    end if;
    return v_rows > 0;
end
$$;

-- Who may delete need not own the tables: these do their work with the rights of who migrated. Nobody gets them unasked.
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select procedure.oid::regprocedure
        from pg_proc as procedure
        where
            procedure.pronamespace = to_regnamespace(quote_ident(current_schema()))
            and procedure.proname in (
                'pipespan_prune_partition_v1', 'pipespan_prune_default_v1', 'pipespan_delete_experiments_v1',
                'pipespan_pin_v1', 'pipespan_drop_partitions_v1', 'pipespan_prune_streams_v1', 'cleanup_old_logs'
            )
    loop
        execute format('alter function %s security definer', v_function);
        execute format('alter function %s set search_path to %I, pg_temp', v_function, current_schema());
        execute format('revoke execute on function %s from public', v_function);
    end loop;
end
$$;
