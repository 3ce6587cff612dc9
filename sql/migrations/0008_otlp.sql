-- Spans of other programs find their place in the tree, in whatever order they come; several requests of a receiver
-- are written in one transaction; what was noted of requests goes after a day.

-- ---------------------------------------------------------------- who is above whom

-- A span can come before the one above it; that one can be a node that is known by another name than its span's id, or
-- can be left out of the tree by rule. So each span of another program is noted, roots that are nodes excepted.
create table pipespan_spans (
    experiment_id uuid not null,
    span_id text not null,
    parent_span_id text,
    is_node boolean not null,
    noted_at timestamptz not null default now(),
    -- Spans first: of two indexes that begin with the experiment the planner, which knows nothing of a table that is
    -- new, may take the one that finds all of its spans.
    primary key (span_id, experiment_id)
);

create index pipespan_spans__parent_span_id_experiment_id on pipespan_spans (parent_span_id, experiment_id);
create index pipespan_spans__noted_at on pipespan_spans using brin (noted_at);

comment on table pipespan_spans is
    'Spans of other programs with the span above each; kept for 30 days, as long as late ones are put in their place.';
comment on column pipespan_spans.is_node is 'False for spans that are kept out of the tree by rule.';

-- Nodes whose id is not their span's: only these are looked for by it.
create index pipeline_progress__span_id_experiment_id
on pipeline_progress (span_id, experiment_id)
where node_id <> span_id;

create index pipespan_streams__otlp on pipespan_streams (updated_at) where lane = 'otlp';

-- Puts spans of other programs under the nodes that they belong to: those of the batch, and those that waited for a
-- span of the batch. The nearest node above is the parent; from its level follows the level, so that what changes may
-- change those below, but never further than from pipeline to substep. The caller has the structure locks.
create function pipespan_link_spans_v1(p_has_spans boolean) returns void
language plpgsql
set search_path from current
set enable_seqscan to off
set enable_hashjoin to off
set enable_mergejoin to off
set plan_cache_mode to force_generic_plan
as $$
declare
    v_experiments uuid[];
    v_spans text[];
begin
    if p_has_spans then
        select array_agg(found.experiment_id), array_agg(found.span_id)
        into v_experiments, v_spans
        from (
            select brought.experiment_id, brought.span_id from pipespan_batch_spans_v1 as brought
            union
            select brought.experiment_id, brought.span_id
            from pipespan_batch_nodes_v1 as brought
            where brought.span_id is not null
        ) as found;
    else
        -- Nearly always there is none: other programs have no part in it.
        select array_agg(found.experiment_id), array_agg(found.span_id)
        into v_experiments, v_spans
        from (
            select distinct brought.experiment_id, brought.span_id
            from pipespan_batch_nodes_v1 as brought
            where
                brought.span_id is not null
                and exists (
                    select from pipespan_spans as span
                    where span.parent_span_id = brought.span_id and span.experiment_id = brought.experiment_id
                )
        ) as found;
    end if;
    if v_spans is null then
        return;
    end if;

    -- Those that waited for them, also through spans that are no nodes.
    with recursive below as (
        select changed.experiment_id, changed.span_id::text, true as goes_on
        from unnest(v_experiments, v_spans) as changed (experiment_id, span_id)
        union
        select span.experiment_id, span.span_id, not span.is_node
        from below
        join pipespan_spans as span
            on span.experiment_id = below.experiment_id and span.parent_span_id = below.span_id
        where below.goes_on
    )
    select array_agg(found.experiment_id), array_agg(found.span_id)
    into v_experiments, v_spans
    from (select distinct below.experiment_id, below.span_id from below) as found;

    -- Four levels: what changes at the top is settled below after three more rounds. Planned anew each time: a plan that
    -- was made while the tables were empty may take any index that begins with the experiment, and is kept.
    for v_round in 1..4 loop
        execute $link$
        with recursive up as (
            select span.experiment_id, span.span_id, span.parent_span_id as above, 1 as steps
            from unnest($1, $2) as waiting (experiment_id, span_id)
            join pipespan_spans as span
                on span.experiment_id = waiting.experiment_id and span.span_id = waiting.span_id
            where span.is_node
            union all
            select up.experiment_id, up.span_id, span.parent_span_id, up.steps + 1
            from up
            join pipespan_spans as span on span.experiment_id = up.experiment_id and span.span_id = up.above
            where not span.is_node and up.steps < 64
        ),
        placed as (
            select top.experiment_id, top.span_id, coalesce(named.node_id, top.above) as parent_id, top.above is null as is_root
            from (
                select distinct on (up.experiment_id, up.span_id)
                    up.experiment_id, up.span_id, up.above
                from up
                order by up.experiment_id, up.span_id, up.steps desc
            ) as top
            left join lateral (
                select min(known.node_id::text) as node_id
                from pipeline_progress as known
                where
                    known.experiment_id = top.experiment_id
                    and known.span_id = top.above
                    and known.node_id <> known.span_id
            ) as named on true
        ),
        levelled as (
            select
                placed.experiment_id, placed.span_id, placed.parent_id,
                case
                    when placed.is_root then 'pipeline'
                    when parent.node_level = 'pipeline' then 'phase'
                    when parent.node_level = 'phase' then 'step'
                    else 'substep'
                end as node_level
            from placed
            left join pipeline_progress as parent
                on parent.experiment_id = placed.experiment_id and parent.node_id = placed.parent_id
        ),
        moved as (
            update pipeline_progress as node
            set parent_id = levelled.parent_id, node_level = levelled.node_level, updated_at = now()
            from levelled
            where
                node.experiment_id = levelled.experiment_id
                and node.node_id = levelled.span_id
                and node.span_id = levelled.span_id
                and (node.parent_id is distinct from levelled.parent_id or node.node_level <> levelled.node_level)
            returning node.experiment_id, node.node_id
        )
        select array_agg(span.experiment_id), array_agg(span.span_id)
        from (
            select child.experiment_id, child.node_id::text as span_id
            from moved
            join pipeline_progress as child
                on child.experiment_id = moved.experiment_id and child.parent_id = moved.node_id
            -- The table is seen as it was before: what came below a moved node just now is not among its children yet.
            union
            select levelled.experiment_id, levelled.span_id
            from moved
            join levelled
                on levelled.experiment_id = moved.experiment_id and levelled.parent_id = moved.node_id
        ) as next
        join pipespan_spans as span
            on span.experiment_id = next.experiment_id and span.span_id = next.span_id and span.is_node
        $link$ into v_experiments, v_spans using v_experiments, v_spans;
        exit when v_spans is null;
    end loop;
end
$$;

-- ---------------------------------------------------------------- the writer's statements

-- Starts the transaction of several whole requests, each with its ledger row, in one order for everybody; returns
-- those that were written before, whose rows must not come again.
create function pipespan_open_requests_v1(
    p_stream_ids uuid[],
    p_lane text,
    p_sizes_bytes bigint[],
    p_has_owners boolean,
    p_has_nodes boolean
) returns uuid[]
language plpgsql
set search_path from current
as $$
declare
    v_id uuid;
    v_size_bytes bigint;
    v_is_first boolean := true;
    v_known uuid[] := '{}';
begin
    for v_id, v_size_bytes in
        select request.id, request.size_bytes
        from unnest(p_stream_ids, p_sizes_bytes) as request (id, size_bytes)
        order by request.id
    loop
        if
            pipespan_open_batch_v1(
                v_id, p_lane, 0, v_size_bytes, v_is_first and p_has_owners, v_is_first and p_has_nodes
            ) is not null
        then
            v_known := v_known || v_id;
        else
            v_is_first := false;
        end if;
    end loop;
    return v_known;
end
$$;

-- Makes the table for spans that are noted ready.
create function pipespan_open_spans_v1() returns void
language plpgsql
set search_path from current
as $$
begin
    if to_regclass('pg_temp.pipespan_batch_spans_v1') is null then
        create temporary table pipespan_batch_spans_v1 (
            experiment_id uuid not null,
            span_id text not null,
            parent_span_id text,
            is_node boolean not null
        ) on commit delete rows;
    end if;
end
$$;

-- As pipespan_merge_batch_v1, and puts spans of other programs in their place. p_has_spans says that the batch notes
-- such spans; one that does not may bring the node that others wait for.
create function pipespan_merge_batch_v2(
    p_has_owners boolean, p_has_nodes boolean, p_has_spans boolean, p_error_ids uuid[], p_errors bigint[]
) returns void
language plpgsql
set search_path from current
set enable_seqscan to off
set enable_hashjoin to off
set enable_mergejoin to off
set plan_cache_mode to force_generic_plan
as $$
declare
    v_ids uuid[] := p_error_ids;
begin
    if p_has_spans then
        -- All locks at once, since they have an order.
        v_ids := v_ids || array(select distinct brought.experiment_id from pipespan_batch_spans_v1 as brought);
        if p_has_nodes then
            v_ids := v_ids || array(select distinct brought.experiment_id from pipespan_batch_nodes_v1 as brought);
        end if;
        if p_has_owners then
            v_ids := v_ids || array(
                select brought.id from pipespan_batch_experiments_v1 as brought
                union
                select brought.experiment_id from pipespan_batch_jobs_v1 as brought
            );
        end if;
        perform pipespan_lock_batch_v1(v_ids, false);
        insert into pipespan_spans as known (experiment_id, span_id, parent_span_id, is_node)
        select brought.experiment_id, brought.span_id, max(brought.parent_span_id), bool_or(brought.is_node)
        from pipespan_batch_spans_v1 as brought
        group by brought.experiment_id, brought.span_id
        -- equal ones most of the time; whatever the order, the same stays
        on conflict (experiment_id, span_id) do update set
            parent_span_id = greatest(known.parent_span_id, excluded.parent_span_id),
            is_node = known.is_node or excluded.is_node
        where
            (known.parent_span_id, known.is_node) is distinct from (
                greatest(known.parent_span_id, excluded.parent_span_id), known.is_node or excluded.is_node
            );
    end if;
    perform pipespan_merge_batch_v1(p_has_owners, p_has_nodes, p_error_ids, p_errors);
    if p_has_nodes or p_has_spans then
        perform pipespan_link_spans_v1(p_has_spans);
    end if;
end
$$;

-- ---------------------------------------------------------------- what is not needed any more

-- Requests are sent again for minutes, from the disk of a collector for hours. Returns how many rows went; each call
-- at most p_limit of a kind.
create function pipespan_prune_requests_v1(p_limit integer) returns bigint
language plpgsql
set search_path from current
as $$
declare
    v_rows bigint;
    v_spans bigint;
begin
    delete from pipespan_streams as known
    where (known.stream_id, known.lane) in (
        select old.stream_id, old.lane
        from pipespan_streams as old
        where old.lane = 'otlp' and old.updated_at < now() - interval '1 day'
        limit p_limit
        for update skip locked
    );
    get diagnostics v_rows = row_count;
    delete from pipespan_spans as known
    where (known.experiment_id, known.span_id) in (
        select old.experiment_id, old.span_id
        from pipespan_spans as old
        where old.noted_at < now() - interval '30 days'
        limit p_limit
        for update skip locked
    );
    get diagnostics v_spans = row_count;
    return v_rows + v_spans;
end
$$;

-- Writers may not delete: this does it with the rights of who migrated. Nobody else gets it unasked.
do $$
begin
    alter function pipespan_prune_requests_v1(integer) security definer;
    execute format(
        'alter function pipespan_prune_requests_v1(integer) set search_path to %I, pg_temp', current_schema()
    );
    revoke execute on function pipespan_prune_requests_v1(integer) from public;
end
$$;
