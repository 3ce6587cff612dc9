-- What people query: fingerprints of errors, views, and functions.
--
-- Functions that read tables run with the rights of their owner and have a fixed search path (see the end), so a role
-- that may execute them needs no rights on tables. Those of them whose plan depends on the values are planned anew at
-- each call: then only the partitions that matter are planned, opened and locked.

-- ---------------------------------------------------------------- stages and fingerprints

-- The stage a node belongs to: the element of its path below the root; null for the root itself.
create function pipespan_stage_v1(node_id text) returns text
language sql immutable parallel safe
as $$
    select case when strpos(node_id, '/') > 0 then split_part(node_id, '/', 2) end
$$;

-- What errors of one cause have in common; `pipespan.model.fingerprint` holds the same definition.
--
-- With a traceback: the type and the frames, each as file and function. Of a file only the last element counts, of a
-- package's `__init__.py` and `__main__.py` also the one before; names of temporary files and numbers in them do not.
-- A frame that occurs again and again (recursion) counts once, where it stands last. Without frames: the type and the
-- first line of the message, without numbers, ids and quoted text. No character classes, nothing lazy: regular
-- expressions of Postgres and of Python have to find the same.
create function pipespan_fingerprint_v1(error_type text, message text, traceback text) returns text
language sql immutable parallel safe
as $$
    with seen as (
        select
            found.place,
            found.parts[2] as function_name,
            substring(
                replace(found.parts[1], '\', '/') from '([^/]*/__(?:init|main)__[.]py|[^/]*)$'
            ) as file_name
        from regexp_matches(
            right(traceback, 65536) collate "C", '^[ |+-]*File "([^"\n]*)", line [0-9]+(?:, in ([^\n]*))?$', 'gn'
        ) with ordinality as found (parts, place)
    ),
    frame as (
        select
            max(seen.place) as place,
            regexp_replace(
                regexp_replace(
                    regexp_replace(seen.file_name, '^tmp[a-z0-9_]{8}', 'tmp'), '[0-9a-f]{12,}', '0', 'g'
                ),
                '[0-9]+', '0', 'g'
            ) || ':' || coalesce(seen.function_name, '') as name
        from seen
        group by name
    ),
    headline as (
        select
            btrim(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
                regexp_replace(
                    left(split_part(ltrim(message, E' \t\r\n'), E'\n', 1), 1000) collate "C",
                    '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}', '<id>', 'g'
                ),
                '"[^"]*"', '<text>', 'g'),
                '(?<![0-9A-Za-z])''[^'']*''(?![0-9A-Za-z])', '<text>', 'g'),
                '(?<![0-9A-Za-z])0[xX][0-9a-fA-F]+', '<hex>', 'g'),
                '(?<![0-9A-Za-z])[0-9a-fA-F]{8,}(?![0-9A-Za-z])', '<hex>', 'g'),
                '[-+]?[0-9]+(?:[.][0-9]+)?(?:[eE][-+]?[0-9]+)?', '0', 'g'),
                '[ \t\r\f\v]+', ' ', 'g'
            )) as name
    )
    select left(encode(sha256(convert_to(
        coalesce(error_type, '') || E'\n'
        || coalesce(
            (select string_agg(frame.name, E'\n' order by frame.place) from frame),
            (select headline.name from headline),
            ''
        ),
        'UTF8'
    )), 'hex'), 16)
$$;

alter table pipeline_logs add column fingerprint text generated always as (
    case
        when level in ('ERROR', 'CRITICAL') then pipespan_fingerprint_v1(coalesce(error_type, level), message, traceback)
    end
) stored;

comment on column pipeline_logs.fingerprint is 'Equal for errors of one cause, over runs too; null below ERROR.';

-- ---------------------------------------------------------------- where an experiment's rows are

-- A question about an experiment has no bound in time, its rows have: these are the days (UTC) on which it has any,
-- whatever clocks say. A statement-level trigger keeps them; it writes once for an experiment and day.
create table pipespan_days (
    table_name text not null,
    experiment_id uuid not null,
    day date not null,
    primary key (table_name, experiment_id, day)
);

comment on table pipespan_days is
    'On which days (UTC) an experiment has rows in the partitioned tables; a day too many does no harm.';

create function pipespan_note_days_v1() returns trigger
language plpgsql
as $$
begin
    -- In one order, and before any other lock of a writer that others wait for: no deadlock.
    insert into pipespan_days (table_name, experiment_id, day)
    select tg_argv[0], fresh.experiment_id, fresh.day
    from (
        select distinct new_row.experiment_id, (new_row.timestamp at time zone 'UTC')::date as day
        from new_rows as new_row
    ) as fresh
    where not exists (
        select from pipespan_days as known
        where known.table_name = tg_argv[0] and known.experiment_id = fresh.experiment_id and known.day = fresh.day
    )
    order by fresh.experiment_id, fresh.day
    on conflict do nothing;
    return null;
end
$$;

create trigger pipeline_logs__note_days
after insert on pipeline_logs
referencing new table as new_rows
for each statement execute function pipespan_note_days_v1('pipeline_logs');

create trigger pipeline_events__note_days
after insert on pipeline_events
referencing new table as new_rows
for each statement execute function pipespan_note_days_v1('pipeline_events');

create trigger pipeline_metrics__note_days
after insert on pipeline_metrics
referencing new table as new_rows
for each statement execute function pipespan_note_days_v1('pipeline_metrics');

insert into pipespan_days (table_name, experiment_id, day)
select distinct 'pipeline_logs', log.experiment_id, (log.timestamp at time zone 'UTC')::date from pipeline_logs as log
union all
select distinct 'pipeline_events', event.experiment_id, (event.timestamp at time zone 'UTC')::date
from pipeline_events as event
union all
select distinct 'pipeline_metrics', metric.experiment_id, (metric.timestamp at time zone 'UTC')::date
from pipeline_metrics as metric;

-- The time within which an experiment has rows in a partitioned table, in stretches of whole days, newest first. The
-- first stretch is the newest day, each further one is twice as long, and none spans a gap: who reads the newest few
-- rows stops after the first stretches, who reads all needs few questions.
create function pipespan_stretches_v1(
    p_table text, p_experiment_id uuid, p_since timestamptz default null, p_until timestamptz default null
) returns table (since timestamptz, until timestamptz)
language plpgsql stable parallel safe
set plan_cache_mode to force_custom_plan
as $$
declare
    v_days date[];
    v_newest integer := 1;
    v_oldest integer;
    v_length integer := 1;
begin
    select array_agg(known.day order by known.day desc)
    into v_days
    from pipespan_days as known
    where
        known.table_name = p_table
        and known.experiment_id = p_experiment_id
        and (p_since is null or known.day >= (p_since at time zone 'UTC')::date)
        and (p_until is null or known.day <= (p_until at time zone 'UTC')::date);

    while v_newest <= coalesce(cardinality(v_days), 0) loop
        v_oldest := v_newest;
        while
            v_oldest < cardinality(v_days)
            and v_oldest - v_newest + 1 < v_length
            and v_days[v_oldest + 1] = v_days[v_oldest] - 1
        loop
            v_oldest := v_oldest + 1;
        end loop;
        since := greatest(v_days[v_oldest]::timestamp at time zone 'UTC', p_since);
        until := least((v_days[v_newest] + 1)::timestamp at time zone 'UTC', p_until);
        if since < until then
            return next;
        end if;
        v_newest := v_oldest + 1;
        v_length := v_length * 2;
    end loop;
end
$$;

-- ---------------------------------------------------------------- times

-- How long a node or an experiment took, or has been running; null before it starts.
create function pipespan_duration_s_v1(p_status text, p_start timestamptz, p_end timestamptz) returns double precision
language sql stable parallel safe
as $$
    select extract(epoch from span.ends_at - span.starts_at)::double precision
    from (
        select
            p_start as starts_at, coalesce(p_end, case when p_status in ('pending', 'running') then now() end) as ends_at
        offset 0
    ) as span
    where isfinite(span.starts_at) and isfinite(span.ends_at)
$$;

-- ---------------------------------------------------------------- logs

-- The ids of a node and of all below it in the tree.
create function pipespan_below_v1(p_experiment_id uuid, p_node_id text) returns text[]
language sql stable parallel safe
as $$
    with recursive below as (
        select p_node_id as node_id
        union
        select node.node_id::text
        from below
        join pipeline_progress as node on node.experiment_id = p_experiment_id and node.parent_id = below.node_id
    )
    select array_agg(below.node_id) from below
$$;

-- The names of a level and of all above it.
create function pipespan_levels_v1(p_level text) returns text[]
language plpgsql immutable parallel safe
as $$
declare
    v_levels constant text[] := array['DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'];
    v_rank constant integer := array_position(v_levels, upper(p_level));
begin
    if p_level is not null and v_rank is null then
        raise exception 'unknown level %; use one of DEBUG, INFO, WARNING, ERROR, CRITICAL', quote_literal(left(p_level, 100))
            using errcode = 'invalid_parameter_value';
    end if;
    return v_levels[v_rank:];
end
$$;

-- As get_experiment_logs, but in the order in which they are found: newest first, or by id.
create function pipespan_find_logs_v1(
    p_experiment_id uuid,
    p_level text,
    p_search text,
    p_node text,
    p_since timestamptz,
    p_until timestamptz,
    p_limit bigint,
    p_after bigint
) returns setof pipeline_logs
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
declare
    v_levels constant text[] := pipespan_levels_v1(p_level);
    v_pattern constant text := '%' || replace(replace(replace(p_search, '\', '\\'), '%', '\%'), '_', '\_') || '%';
    v_nodes text[];
    v_left bigint := greatest(coalesce(p_limit, 9223372036854775807), 0);
    v_rows bigint;
    v_since timestamptz;
    v_until timestamptz;
begin
    if p_node is not null then
        v_nodes := pipespan_below_v1(p_experiment_id, p_node);
    end if;

    if p_after is not null then
        -- Ids and times need not go together, so all days are looked at: where nothing new is, that is quick.
        select min(stretch.since), max(stretch.until)
        into v_since, v_until
        from pipespan_stretches_v1('pipeline_logs', p_experiment_id, p_since, p_until) as stretch;
        return query
            select log.*
            from pipeline_logs as log
            where
                log.experiment_id = p_experiment_id
                and log.id > p_after
                and log.timestamp >= v_since
                and log.timestamp < v_until
                and (v_levels is null or log.level = any (v_levels))
                and (v_pattern is null or log.message ilike v_pattern or log.traceback ilike v_pattern)
                and (p_node is null or log.node_id = any (v_nodes) or starts_with(log.node_id, p_node || '/'))
            order by log.id
            limit v_left;
        return;
    end if;

    for v_since, v_until in
        select stretch.since, stretch.until
        from pipespan_stretches_v1('pipeline_logs', p_experiment_id, p_since, p_until) as stretch
    loop
        exit when v_left <= 0;
        return query
            select log.*
            from pipeline_logs as log
            where
                log.experiment_id = p_experiment_id
                and log.timestamp >= v_since
                and log.timestamp < v_until
                and (v_levels is null or log.level = any (v_levels))
                and (v_pattern is null or log.message ilike v_pattern or log.traceback ilike v_pattern)
                and (p_node is null or log.node_id = any (v_nodes) or starts_with(log.node_id, p_node || '/'))
            order by log.timestamp desc, log.id desc
            limit v_left;
        get diagnostics v_rows = row_count;
        v_left := v_left - v_rows;
    end loop;
end
$$;

create function get_experiment_logs(
    p_experiment_id uuid,
    p_level text default null,
    p_search text default null,
    p_node text default null,
    p_since timestamptz default null,
    p_until timestamptz default null,
    p_limit bigint default 100,
    p_after bigint default null
) returns setof pipeline_logs
language sql stable
as $$
    select log.*
    from pipespan_find_logs_v1(
        p_experiment_id, p_level, p_search, p_node, p_since, p_until, p_limit, p_after
    ) as log
    order by case when p_after is null then log.timestamp end, log.id
$$;

comment on function get_experiment_logs is
    'The newest p_limit log records that match, in order of time; with p_after the oldest after that id, by id.';

create function get_log_histogram(
    p_experiment_id uuid,
    p_bucket_s double precision default 60,
    p_since timestamptz default null,
    p_until timestamptz default null
) returns table (bucket_start timestamptz, level text, records bigint)
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    v_since timestamptz;
    v_until timestamptz;
begin
    if p_bucket_s is null or p_bucket_s <= 0 or p_bucket_s > 1e12 then
        raise exception 'a bucket of % s is not possible; give seconds above 0', p_bucket_s
            using errcode = 'invalid_parameter_value';
    end if;
    select min(stretch.since), max(stretch.until)
    into v_since, v_until
    from pipespan_stretches_v1('pipeline_logs', p_experiment_id, p_since, p_until) as stretch;
    return query
        select to_timestamp(bucket.place * p_bucket_s), bucket.level, sum(bucket.records)::bigint
        from (
            select floor(extract(epoch from log.timestamp)::double precision / p_bucket_s) as place, log.level, count(*) as records
            from pipeline_logs as log
            where log.experiment_id = p_experiment_id and log.timestamp >= v_since and log.timestamp < v_until
            group by 1, 2
        ) as bucket
        group by bucket.place, bucket.level
        order by bucket.place, bucket.level;
end
$$;

comment on function get_log_histogram is 'How many log records of each level an experiment has in each stretch of time.';

-- ---------------------------------------------------------------- errors

-- The errors of an experiment by fingerprint, most frequent first, with where the first and the last of each are.
create function pipespan_error_groups_v1(p_experiment_id uuid, p_limit bigint) returns table (
    fingerprint text,
    errors bigint,
    first_id bigint,
    first_at timestamptz,
    last_id bigint,
    last_at timestamptz
)
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    v_since timestamptz;
    v_until timestamptz;
begin
    select min(stretch.since), max(stretch.until)
    into v_since, v_until
    from pipespan_stretches_v1('pipeline_logs', p_experiment_id) as stretch;
    return query
        with error as (
            select log.fingerprint, log.timestamp, log.id
            from pipeline_logs as log
            where
                log.experiment_id = p_experiment_id
                and log.level in ('ERROR', 'CRITICAL')
                and log.timestamp >= v_since
                and log.timestamp < v_until
        ),
        -- rows compare by time, then by id
        grouped as (
            select error.fingerprint, count(*) as errors, min(error.timestamp) as first_at, max(error.timestamp) as last_at
            from error
            group by error.fingerprint
        ),
        edged as (
            select
                grouped.fingerprint,
                grouped.errors,
                min(error.id) filter (where error.timestamp = grouped.first_at) as first_id,
                grouped.first_at,
                max(error.id) filter (where error.timestamp = grouped.last_at) as last_id,
                grouped.last_at
            from grouped
            join error on error.fingerprint = grouped.fingerprint
            group by grouped.fingerprint, grouped.errors, grouped.first_at, grouped.last_at
        )
        select edged.fingerprint, edged.errors, edged.first_id, edged.first_at, edged.last_id, edged.last_at
        from edged
        order by edged.errors desc, edged.first_at, edged.first_id
        limit greatest(coalesce(p_limit, 9223372036854775807), 0);
end
$$;

-- How many errors each node logged itself; null is the key of those outside any node.
create function pipespan_error_counts_v1(p_experiment_id uuid) returns table (node_id text, errors bigint)
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    v_since timestamptz;
    v_until timestamptz;
begin
    select min(stretch.since), max(stretch.until)
    into v_since, v_until
    from pipespan_stretches_v1('pipeline_logs', p_experiment_id) as stretch;
    return query
        select log.node_id::text, count(*)
        from pipeline_logs as log
        where
            log.experiment_id = p_experiment_id
            and log.level in ('ERROR', 'CRITICAL')
            and log.timestamp >= v_since
            and log.timestamp < v_until
        group by log.node_id;
end
$$;

-- One log record whose place is known.
create function pipespan_log_v1(p_id bigint, p_timestamp timestamptz) returns setof pipeline_logs
language plpgsql stable rows 1
set plan_cache_mode to force_custom_plan
as $$
begin
    return query select log.* from pipeline_logs as log where log.id = p_id and log.timestamp = p_timestamp;
end
$$;

create function get_error_summary(p_experiment_id uuid) returns jsonb
language sql stable
as $$
    with counted as (
        select pipespan_stage_v1(counts.node_id) as stage, sum(counts.errors)::bigint as errors
        from pipespan_error_counts_v1(p_experiment_id) as counts
        group by 1
    )
    select jsonb_build_object(
        'total', coalesce((select sum(counted.errors) from counted), 0),
        'by_stage', coalesce(
            (
                select jsonb_agg(
                    jsonb_build_object('stage', counted.stage, 'count', counted.errors)
                    order by counted.errors desc, counted.stage
                )
                from counted
            ),
            '[]'
        ),
        'by_fingerprint', coalesce(
            (
                select jsonb_agg(
                    jsonb_build_object(
                        'fingerprint', kind.fingerprint,
                        'error_type', log.error_type,
                        'message', left(split_part(log.message, E'\n', 1), 1000),
                        'stage', pipespan_stage_v1(log.node_id),
                        'count', kind.errors,
                        'first_seen', kind.first_at,
                        'last_seen', kind.last_at,
                        'first_log_id', kind.first_id,
                        'last_log_id', kind.last_id
                    )
                    order by kind.errors desc, kind.first_at, kind.first_id
                )
                from pipespan_error_groups_v1(p_experiment_id, 1000) as kind
                cross join lateral pipespan_log_v1(kind.last_id, kind.last_at) as log
            ),
            '[]'
        ),
        'recent', coalesce(
            (
                select jsonb_agg(
                    jsonb_build_object(
                        'id', log.id,
                        'timestamp', log.timestamp,
                        'node_id', log.node_id,
                        'stage', pipespan_stage_v1(log.node_id),
                        'level', log.level,
                        'error_type', log.error_type,
                        'message', left(split_part(log.message, E'\n', 1), 1000)
                    )
                    order by log.timestamp desc, log.id desc
                )
                from get_experiment_logs(p_experiment_id, 'ERROR', p_limit => 20) as log
            ),
            '[]'
        )
    )
$$;

comment on function get_error_summary is
    'The errors of an experiment: how many, in which stages, of which kinds, and the newest 20.';

-- ---------------------------------------------------------------- the tree

-- The nodes of an experiment as a forest, each once, with depth, path and place in a display: depth first, siblings
-- by start, unstarted ones last, then by id. A node whose parent is missing is a root; a cycle of parents is cut above
-- the first of its nodes, and such trees come last; what is deeper than 256 levels goes on as a tree of its own behind
-- them, as its path would be too long to tell. With p_depth only so many levels from nodes without a parent.
--
-- Nodes are numbered in the order of siblings, and the walk goes down over arrays of these numbers: its cost follows
-- the number of nodes, not the depth, and does not depend on what the planner knows. Arrays are found by number only
-- while they are parameters: hence no custom plans, which would copy them.
create function pipespan_forest_v1(p_experiment_id uuid, p_depth integer) returns table (
    id bigint, depth integer, path text[], place bigint
)
language plpgsql stable rows 10000
set plan_cache_mode to force_generic_plan
set enable_nestloop to off
set enable_mergejoin to off
set work_mem to '64MB'
as $$
#variable_conflict use_column
declare
    v_ids bigint[];
    v_names text[];
    v_parents integer[];  -- number of the parent, 0 for a root
    v_children integer[];  -- all nodes, those of one parent side by side
    v_first integer[];  -- where in v_children the children of a node begin
    v_last integer[];
    v_roots integer[];
    v_walked bigint := 0;
    v_rows bigint;
begin
    select nodes.ids, nodes.names, nodes.parents
    into v_ids, v_names, v_parents
    from pipespan_numbered_v1(p_experiment_id, p_depth) as nodes;
    v_roots := array_positions(v_parents, 0);

    -- A second round only where cycles hide nodes from the first.
    for v_round in 1..2 loop
        select array_agg(child.place order by child.parent, child.place)
        into v_children
        from unnest(v_parents) with ordinality as child (parent, place);

        select array_agg(coalesce(family.first, 1) order by node.place), array_agg(coalesce(family.last, 0) order by node.place)
        into v_first, v_last
        from generate_series(1, cardinality(v_ids)) as node (place)
        left join (
            select v_parents[child.place] as parent, min(child.position) as first, max(child.position) as last
            from unnest(v_children) with ordinality as child (place, position)
            group by 1
        ) as family on family.parent = node.place;

        return query
            with recursive walk as (
                select
                    root.place, 0 as depth, array[v_names[root.place]] as path,
                    int4send(1) || int4send(root.place) as sort
                from unnest(v_roots) as root (place)
                union all
                select
                    v_children[child.position],
                    case when step.goes_on then walk.depth + 1 else 0 end,
                    case when step.goes_on then walk.path else '{}' end || v_names[v_children[child.position]],
                    case when step.goes_on then walk.sort else int4send(2) end || int4send(v_children[child.position])
                from walk
                cross join lateral (select walk.depth < 255 as goes_on) as step
                cross join lateral generate_series(v_first[walk.place], v_last[walk.place]) as child (position)
            )
            select v_ids[walk.place], walk.depth, walk.path, v_walked + row_number() over (order by walk.sort) from walk;
        get diagnostics v_rows = row_count;
        v_walked := v_walked + v_rows;
        exit when v_round = 2 or v_walked >= coalesce(cardinality(v_ids), 0);

        v_roots := pipespan_cuts_v1(v_parents);
        select array_agg(case when cut.place is null then node.parent else 0 end order by node.place)
        into v_parents
        from unnest(v_parents) with ordinality as node (parent, place)
        left join unnest(v_roots) as cut (place) on cut.place = node.place;
    end loop;
end
$$;

-- The nodes of an experiment numbered from 1 by start, unstarted ones last, then by id: row ids, node ids, and the
-- number of each one's parent. With p_depth only that many levels from nodes without a parent, if there are any such.
create function pipespan_numbered_v1(p_experiment_id uuid, p_depth integer) returns table (
    ids bigint[], names text[], parents integer[]
)
language sql stable
set enable_nestloop to on
set enable_mergejoin to off
set work_mem to '64MB'
as $$
    with recursive shallow as (
        select node.id, node.node_id, node.parent_id, node.start_time, 1 as level
        from pipeline_progress as node
        where p_depth > 0 and node.experiment_id = p_experiment_id and node.parent_id is null
        union all
        select child.id, child.node_id, child.parent_id, child.start_time, shallow.level + 1
        from shallow
        -- by index, whatever the planner thinks of the number of children
        cross join lateral (
            select node.id, node.node_id, node.parent_id, node.start_time
            from pipeline_progress as node
            where node.experiment_id = p_experiment_id and node.parent_id = shallow.node_id
            offset 0
        ) as child
        where shallow.level < p_depth
    ),
    chosen as (
        select shallow.id, shallow.node_id, shallow.parent_id, shallow.start_time from shallow
        union all
        select node.id, node.node_id, node.parent_id, node.start_time
        from pipeline_progress as node
        where
            node.experiment_id = p_experiment_id
            and (p_depth is null or (p_depth > 0 and not exists (select from shallow)))
    ),
    numbered as materialized (
        select
            chosen.id,
            chosen.node_id::text as node_id,
            chosen.parent_id::text as parent_id,
            row_number() over (order by chosen.start_time, chosen.id)::integer as place
        from chosen
    ),
    named as (
        select numbered.node_id, numbered.place from numbered
    )
    select
        array_agg(numbered.id order by numbered.place),
        array_agg(numbered.node_id order by numbered.place),
        array_agg(coalesce(nullif(named.place, numbered.place), 0) order by numbered.place)
    from numbered
    left join named on named.node_id = numbered.parent_id
$$;

-- Where to cut the cycles that no root leads to, given the number of each node's parent: the first node of each.
--
-- Doubles the steps at each round, so that after a few rounds each walk has come to a root or gone round its cycle:
-- v_up is where it has come to, v_low the first node on the way.
create function pipespan_cuts_v1(p_parents integer[]) returns integer[]
language plpgsql immutable parallel safe
set plan_cache_mode to force_generic_plan
as $$
declare
    v_up integer[] := p_parents;
    v_low integer[];
begin
    select array_agg(node.place order by node.place)
    into v_low
    from generate_series(1, cardinality(p_parents)) as node (place);

    for v_round in 0..ceil(log(2, greatest(cardinality(p_parents), 1)))::integer loop
        select
            array_agg(coalesce(v_up[node.up], 0) order by node.place),
            array_agg(least(node.low, v_low[node.up]) order by node.place)
        into v_up, v_low
        from unnest(v_up, v_low) with ordinality as node (up, low, place);
    end loop;
    return array(select distinct v_low[node.up] from unnest(v_up) as node (up) where node.up > 0);
end
$$;

-- See pipespan_forest_v1 for the order and the shape of the tree.
create function get_progress_tree(p_experiment_id uuid, p_depth integer default null) returns table (
    node_id text,
    parent_id text,
    node_level text,
    node_name text,
    depth integer,
    path text[],
    "position" bigint,
    status text,
    progress_percent numeric,
    completed_units bigint,
    total_units bigint,
    unit text,
    weight double precision,
    message text,
    error_type text,
    start_time timestamptz,
    end_time timestamptz,
    duration_s double precision,
    metadata jsonb,
    job_id uuid,
    attempt integer,
    trace_id text,
    span_id text,
    error_count bigint
)
language plpgsql stable
set plan_cache_mode to force_custom_plan
set work_mem to '64MB'
as $$
#variable_conflict use_column
begin
    return query
        select
            node.node_id::text,
            node.parent_id::text,
            node.node_level,
            node.node_name,
            forest.depth,
            forest.path,
            forest.place,
            node.status,
            node.progress_percent,
            node.completed_units,
            node.total_units,
            node.unit,
            node.weight,
            node.message,
            node.error_type,
            node.start_time,
            node.end_time,
            pipespan_duration_s_v1(node.status, node.start_time, node.end_time),
            node.metadata,
            node.job_id,
            node.attempt,
            node.trace_id,
            node.span_id,
            coalesce(counts.errors, 0)
        from pipespan_forest_v1(p_experiment_id, p_depth) as forest
        -- by index: a few nodes of a large tree must not cost a scan, and all of them hardly cost more this way
        cross join lateral (
            select known.* from pipeline_progress as known where known.id = forest.id offset 0
        ) as node
        left join pipespan_error_counts_v1(p_experiment_id) as counts on counts.node_id = node.node_id
        where p_depth is null or forest.depth < p_depth
        order by forest.place;
end
$$;

comment on function get_progress_tree is 'The tree of an experiment in the order of a display, with depth and path.';

-- ---------------------------------------------------------------- history of phases

-- A number out of JSON; null for what is none.
create function pipespan_figure_v1(p_value jsonb) returns double precision
language sql immutable parallel safe
as $$
    select case when jsonb_typeof(p_value) = 'number' then p_value::double precision end
$$;

create function get_phase_history(p_pipeline text, p_phase text default null, p_limit integer default 20) returns table (
    experiment_id uuid,
    experiment_name text,
    node_id text,
    node_name text,
    node_level text,
    attempt integer,
    status text,
    start_time timestamptz,
    end_time timestamptz,
    duration_s double precision,
    peak_memory_mb double precision,
    cpu_s double precision,
    completed_units bigint,
    throughput_per_s double precision,
    error_count bigint
)
language sql stable
as $$
    with run as (
        select node.*, experiment.name as experiment_name, experiment.error_count
        from experiments as experiment
        cross join lateral (
            -- the phases: they hang below the root
            select phase.*
            from pipeline_progress as root
            join pipeline_progress as phase
                on phase.experiment_id = root.experiment_id and phase.parent_id = root.node_id
            where
                root.experiment_id = experiment.id
                and root.parent_id is null
                and phase.node_level = 'phase'
                and (p_phase is null or phase.node_name = p_phase)
            union
            select other.*
            from pipeline_progress as other
            where other.experiment_id = experiment.id and other.node_id = p_phase
        ) as node
        where experiment.name = p_pipeline
    ),
    ranked as (
        select
            run.*,
            row_number() over (partition by run.node_id order by run.start_time desc nulls last, run.id desc) as place
        from run
    ),
    newest as materialized (
        select ranked.* from ranked where p_limit is null or ranked.place <= p_limit
    ),
    failing as materialized (
        select distinct newest.experiment_id from newest where newest.error_count > 0
    ),
    error as materialized (
        select failing.experiment_id, counts.node_id, counts.errors
        from failing
        cross join lateral pipespan_error_counts_v1(failing.experiment_id) as counts
    )
    select
        newest.experiment_id,
        newest.experiment_name,
        newest.node_id::text,
        newest.node_name,
        newest.node_level,
        newest.attempt,
        newest.status,
        newest.start_time,
        newest.end_time,
        pipespan_duration_s_v1(newest.status, newest.start_time, newest.end_time),
        pipespan_figure_v1(newest.metadata -> 'resources' -> 'memory_peak_bytes') / 1e6,
        pipespan_figure_v1(newest.metadata -> 'resources' -> 'cpu_ns') / 1e9,
        newest.completed_units,
        newest.completed_units
        / nullif(pipespan_duration_s_v1(newest.status, newest.start_time, newest.end_time), 0),
        coalesce((
            select sum(error.errors)::bigint
            from error
            where
                error.experiment_id = newest.experiment_id
                and (error.node_id = newest.node_id or starts_with(error.node_id, newest.node_id || '/'))
        ), 0)
    from newest
    order by newest.start_time desc nulls last, newest.id desc
$$;

comment on function get_phase_history is
    'The newest p_limit runs of each phase of a pipeline, or of one phase by its name, or of one node by its id.';

create function get_phase_trends(p_pipeline text, p_phase text default null, p_last integer default 20) returns table (
    node_id text,
    measure text,
    runs bigint,
    min double precision,
    mean double precision,
    median double precision,
    p90 double precision,
    max double precision,
    last double precision[]
)
language sql stable
as $$
    select
        run.node_id,
        figure.measure,
        count(*),
        min(figure.value),
        avg(figure.value),
        percentile_cont(0.5) within group (order by figure.value),
        percentile_cont(0.9) within group (order by figure.value),
        max(figure.value),
        array_agg(figure.value order by run.start_time, run.experiment_id)
    from get_phase_history(p_pipeline, p_phase, p_last) as run
    cross join lateral (
        values
        (1, 'duration_s', case when run.status = 'completed' then run.duration_s end),
        (2, 'peak_memory_mb', case when run.status = 'completed' then run.peak_memory_mb end),
        (3, 'cpu_s', case when run.status = 'completed' then run.cpu_s end),
        (4, 'errors', case when pipespan_is_terminal_v1(run.status) then run.error_count end)
    ) as figure (place, measure, value)
    where figure.value is not null
    group by run.node_id, figure.place, figure.measure
    order by run.node_id, figure.place
$$;

comment on function get_phase_trends is
    'Least, mean, median, 90th percentile and most of the last runs; time, memory and CPU of completed ones only.';

-- ---------------------------------------------------------------- resources

create function get_resource_timeline(
    p_experiment_id uuid, p_points integer default 200, p_node text default null
) returns table (
    bucket_start timestamptz,
    job_id uuid,
    samples bigint,
    memory_mb double precision,
    cpu_percent double precision,
    disk_usage_mb double precision,
    throughput_per_sec double precision
)
language plpgsql stable
set plan_cache_mode to force_custom_plan
as $$
#variable_conflict use_column
declare
    v_since timestamptz;
    v_until timestamptz;
    v_first timestamptz;
    v_width interval;
    v_nodes text[];
begin
    if p_points is null or p_points < 1 then
        raise exception '% points are not possible; give at least 1', coalesce(p_points::text, 'null')
            using errcode = 'invalid_parameter_value';
    end if;
    if p_node is not null then
        v_nodes := pipespan_below_v1(p_experiment_id, p_node);
    end if;
    select min(stretch.since), max(stretch.until)
    into v_since, v_until
    from pipespan_stretches_v1('pipeline_metrics', p_experiment_id) as stretch;

    select
        min(metric.timestamp),
        greatest((max(metric.timestamp) - min(metric.timestamp)) / p_points, interval '1 microsecond')
    into v_first, v_width
    from pipeline_metrics as metric
    where
        metric.experiment_id = p_experiment_id
        and metric.timestamp >= v_since
        and metric.timestamp < v_until
        and (p_node is null or metric.node_id = any (v_nodes) or starts_with(metric.node_id, p_node || '/'));

    return query
        select
            v_first + bucket.place * v_width,
            bucket.job_id,
            bucket.samples,
            bucket.memory_mb,
            bucket.cpu_percent,
            bucket.disk_usage_mb,
            bucket.throughput_per_sec
        from (
            select
                least(
                    floor(extract(epoch from metric.timestamp - v_first) / extract(epoch from v_width)),
                    p_points - 1
                )::double precision as place,
                metric.job_id,
                count(*) as samples,
                max(metric.memory_mb) as memory_mb,
                avg(metric.cpu_percent) as cpu_percent,
                max(metric.disk_usage_mb) as disk_usage_mb,
                avg(metric.throughput_per_sec) as throughput_per_sec
            from pipeline_metrics as metric
            where
                metric.experiment_id = p_experiment_id
                and metric.timestamp >= v_since
                and metric.timestamp < v_until
                and (p_node is null or metric.node_id = any (v_nodes) or starts_with(metric.node_id, p_node || '/'))
            group by 1, 2
        ) as bucket
        order by bucket.place, bucket.job_id;
end
$$;

comment on function get_resource_timeline is
    'What the processes of an experiment used, in at most p_points stretches of equal length for each process.';

create function get_node_throughput(p_experiment_id uuid) returns table (
    node_id text, completed_units bigint, unit text, duration_s double precision, throughput_per_s double precision
)
language sql stable
as $$
    select
        node.node_id::text,
        node.completed_units,
        node.unit,
        took.duration_s,
        node.completed_units / nullif(took.duration_s, 0)
    from pipeline_progress as node
    cross join lateral (
        select pipespan_duration_s_v1(node.status, node.start_time, node.end_time) as duration_s
    ) as took
    where node.experiment_id = p_experiment_id and node.completed_units > 0
    order by node.start_time nulls last, node.id
$$;

comment on function get_node_throughput is 'Units a second of each node that counts any, from its start to its end or now.';

-- ---------------------------------------------------------------- views

create view recent_experiment_errors as
select
    log.id,
    log.timestamp,
    log.experiment_id,
    experiment.name as experiment_name,
    pipespan_stage_v1(log.node_id) as stage,
    log.node_id::text as node_id,
    log.level,
    log.error_type,
    log.message,
    log.traceback,
    log.logger_name,
    log.fingerprint,
    log.job_id,
    log.trace_id,
    log.span_id
from pipeline_logs as log
left join experiments as experiment on experiment.id = log.experiment_id
where log.level in ('ERROR', 'CRITICAL') and log.timestamp > now() - interval '7 days'
order by log.timestamp desc, log.id desc;

comment on view recent_experiment_errors is 'The errors of the last seven days, newest first.';

create view experiment_progress_summary as
select
    experiment.id as experiment_id,
    experiment.name as experiment_name,
    pipespan_experiment_status_v1(experiment.id) as status,
    coalesce(root.progress_percent, case when experiment.status = 'completed' then 100 else 0 end) as progress_percent,
    coalesce(node.total, 0) as nodes_total,
    coalesce(node.pending, 0) as nodes_pending,
    coalesce(node.running, 0) as nodes_running,
    coalesce(node.completed, 0) as nodes_completed,
    coalesce(node.failed, 0) as nodes_failed,
    coalesce(node.cancelled, 0) as nodes_cancelled,
    experiment.error_count,
    experiment.started_at,
    experiment.ended_at,
    pipespan_duration_s_v1(experiment.status, experiment.started_at, experiment.ended_at) as duration_s,
    job.heartbeat_at,
    experiment.attempt,
    experiment.created_at
from experiments as experiment
left join lateral (
    select avg(top.progress_percent) as progress_percent
    from pipeline_progress as top
    where top.experiment_id = experiment.id and top.parent_id is null
) as root on true
left join lateral (
    select
        count(*) as total,
        count(*) filter (where any_node.status = 'pending') as pending,
        count(*) filter (where any_node.status = 'running') as running,
        count(*) filter (where any_node.status = 'completed') as completed,
        count(*) filter (where any_node.status = 'failed') as failed,
        count(*) filter (where any_node.status = 'cancelled') as cancelled
    from pipeline_progress as any_node
    where any_node.experiment_id = experiment.id
) as node on true
left join lateral (
    select max(any_job.heartbeat_at) as heartbeat_at
    from processing_jobs as any_job
    where any_job.experiment_id = experiment.id
) as job on true;

comment on view experiment_progress_summary is 'One row for each experiment: how far, how many nodes, errors and times.';

-- The health of a job by what is recorded; see `pipespan.model.health`, which also looks at processes.
create function pipespan_job_health_v1(
    p_status text, p_cause text, p_heartbeat_at timestamptz, p_progress_at timestamptz, p_ended_at timestamptz
) returns text
language sql stable parallel safe
as $$
    select case
        when p_ended_at is not null or p_status in ('completed', 'failed', 'cancelled') then
            case when p_status = 'failed' or (p_status = 'cancelled' and p_cause is not null) then 'dead' else 'finished' end
        when now() - p_heartbeat_at > interval '15 seconds' then 'lost contact'
        when now() - p_progress_at > interval '10 minutes' then 'stalled'
        else 'alive'
    end
$$;

create view active_pipeline_monitoring as
select
    experiment.id as experiment_id,
    experiment.name as experiment_name,
    experiment.status,
    case
        when job.unended = 0 or job.unended is null then
            case
                when now() - coalesce(job.left_at, experiment.created_at) <= interval '15 seconds' then 'alive'
                else 'lost contact'
            end
        when job.alive > 0 then 'alive'
        when job.stalled > 0 then 'stalled'
        when job.silent > 0 then 'lost contact'
        else 'dead'
    end as health,
    extract(epoch from now() - job.heartbeat_at)::double precision as seconds_since_heartbeat,
    extract(epoch from now() - job.progress_at)::double precision as seconds_since_progress,
    phase.node_name as current_phase,
    coalesce(root.progress_percent, 0) as progress_percent,
    coalesce(job.alive, 0) + coalesce(job.stalled, 0) as jobs_alive,
    coalesce(job.total, 0) as jobs_total,
    experiment.error_count,
    experiment.started_at,
    pipespan_duration_s_v1(experiment.status, experiment.started_at, experiment.ended_at) as duration_s,
    job.heartbeat_at,
    job.progress_at,
    experiment.attempt
from experiments as experiment
left join lateral (
    -- jobs of the latest attempt; those of earlier ones are past
    select
        count(*) as total,
        count(*) filter (where judged.health <> 'finished') as unended,
        count(*) filter (where judged.health = 'alive') as alive,
        count(*) filter (where judged.health = 'stalled') as stalled,
        count(*) filter (where judged.health = 'lost contact') as silent,
        max(judged.heartbeat_at) as heartbeat_at,
        max(judged.progress_at) as progress_at,
        max(coalesce(judged.ended_at, judged.heartbeat_at)) as left_at
    from (
        select
            known.heartbeat_at,
            known.progress_at,
            known.ended_at,
            known.attempt,
            max(known.attempt) over () as latest,
            pipespan_job_health_v1(
                known.status, known.cause, known.heartbeat_at, known.progress_at, known.ended_at
            ) as health
        from processing_jobs as known
        where known.experiment_id = experiment.id
    ) as judged
    where judged.attempt = judged.latest
) as job on true
left join lateral (
    select avg(top.progress_percent) as progress_percent
    from pipeline_progress as top
    where top.experiment_id = experiment.id and top.parent_id is null
) as root on true
left join lateral (
    select below.node_name
    from pipeline_progress as top
    join pipeline_progress as below on below.experiment_id = top.experiment_id and below.parent_id = top.node_id
    where
        top.experiment_id = experiment.id
        and top.parent_id is null
        and below.node_level = 'phase'
        and below.status = 'running'
    order by below.start_time desc nulls last, below.id desc
    limit 1
) as phase on true
where experiment.status in ('pending', 'running');

comment on view active_pipeline_monitoring is
    'Experiments that are not over, with health as far as a database can know it: whether a process is gone, its host knows.';

-- ---------------------------------------------------------------- rights

-- The functions that read tables act for whoever may execute them: with the owner's rights, names of tables looked up
-- in this schema and never among a caller's temporary tables, and not for everybody.
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select proc.oid::regprocedure
        from pg_proc as proc
        where
            proc.pronamespace = (select class.relnamespace from pg_class as class where class.oid = 'pipespan_days'::regclass)
            and proc.proname in (
                'get_progress_tree', 'get_experiment_logs', 'get_log_histogram', 'get_error_summary',
                'get_phase_history', 'get_phase_trends', 'get_resource_timeline', 'get_node_throughput',
                'pipespan_note_days_v1', 'pipespan_stretches_v1', 'pipespan_below_v1', 'pipespan_find_logs_v1',
                'pipespan_error_groups_v1', 'pipespan_error_counts_v1', 'pipespan_log_v1',
                'pipespan_forest_v1', 'pipespan_numbered_v1', 'pipespan_experiment_status_v1'
            )
    loop
        execute format('revoke all on function %s from public', v_function);
        execute format('alter function %s security definer', v_function);
        execute format('alter function %s set search_path to %I, pg_temp', v_function, current_schema());
    end loop;
end
$$;
