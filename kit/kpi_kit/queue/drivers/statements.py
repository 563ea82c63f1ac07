"""The queue's own statements on procrastinate's tables.

Jobs come as JSON in one parameter of text, which psycopg passes on as it is. It would escape composites and arrays by
regular expressions, for many seconds if a payload is large.

A worker ends only the runs that are still its own. If it was taken for lost, its job belongs to another worker.
"""

from kpi_kit.queue.schema import SCHEMA

_ROW = f"{SCHEMA}.procrastinate_job_to_defer_v1"
_JOB = f"json_populate_record(NULL::{_ROW}, %(job)s::json)"
_PUSH_ALL = f"""{SCHEMA}.procrastinate_defer_jobs_v1(
    ARRAY(SELECT job FROM json_populate_recordset(NULL::{_ROW}, %(jobs)s::json) AS job)
)"""
PUSH_ALL = f"SELECT unnest({_PUSH_ALL}) AS id"
PUSH_UNIQUE = f"SELECT id, is_new FROM {SCHEMA}.push_unique({_JOB})"
PUSH_PERIOD = f"SELECT {SCHEMA}.push_period({_JOB}, %(begin)s) AS id"

# Unlike procrastinate's, it leaves the jobs that this process does not know to those that do.
FETCH = f"""
WITH candidate AS (
    SELECT id FROM {SCHEMA}.procrastinate_jobs
    WHERE status = 'todo' AND task_name = ANY(%(names)s)
    AND (%(queues)s::text[] IS NULL OR queue_name = ANY(%(queues)s))
    AND (scheduled_at IS NULL OR scheduled_at <= now())
    ORDER BY priority DESC, id LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE {SCHEMA}.procrastinate_jobs AS job SET status = 'doing', worker_id = %(worker_id)s
FROM candidate WHERE job.id = candidate.id
RETURNING job.id, status, task_name, job.priority, lock, queueing_lock, args, scheduled_at, queue_name, attempts,
    worker_id"""

_MINE = f"""
WITH mine AS (
    SELECT id FROM {SCHEMA}.procrastinate_jobs
    WHERE id = %(job_id)s AND status = 'doing' AND worker_id IS NOT DISTINCT FROM %(worker_id)s
    FOR UPDATE
)"""
# A run that is about to end in its transaction is not waited for.
_LOST = _MINE.replace("FOR UPDATE", "FOR UPDATE SKIP LOCKED")

FINISH = f"{_MINE} SELECT id, {SCHEMA}.procrastinate_finish_job_v1(id, 'succeeded', true) FROM mine"
# The next job of a chain exists from the moment at which the one before it is gone.
FINISH_AND_GO_ON = f"""{_MINE}
SELECT
    id,
    {SCHEMA}.procrastinate_finish_job_v1(id, 'succeeded', true),
    {_PUSH_ALL}
FROM mine"""
_RETRY = f"SELECT id, {SCHEMA}.procrastinate_retry_job_v2(id, %(retry_at)s, %(priority)s, NULL, NULL) FROM mine"
RETRY = f"{_MINE} {_RETRY}"
RETRY_LOST = f"{_LOST} {_RETRY}"
_GIVE_UP = f""", failure AS (
    INSERT INTO {SCHEMA}.failures (job_id, error) SELECT id, %(error)s FROM mine
    ON CONFLICT (job_id) DO UPDATE SET error = excluded.error, failed_at = excluded.failed_at
)
SELECT id, {SCHEMA}.procrastinate_finish_job_v1(id, 'failed', false) FROM mine"""
GIVE_UP = f"{_MINE}{_GIVE_UP}"
GIVE_UP_LOST = f"{_LOST}{_GIVE_UP}"
# Unlike procrastinate's retry, it counts no attempt.
GIVE_BACK = f"""{_MINE}
UPDATE {SCHEMA}.procrastinate_jobs AS job SET status = 'todo', worker_id = NULL, scheduled_at = now()
FROM mine WHERE job.id = mine.id RETURNING job.id"""

# A worker that was taken for lost, and is not, goes on under its number.
BEAT = f"""
INSERT INTO {SCHEMA}.procrastinate_workers (id) OVERRIDING SYSTEM VALUE VALUES (%(worker_id)s)
ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()"""

COUNT = f"""
WITH job AS (
    SELECT id, queue_name, status, scheduled_at, coalesce(scheduled_at > now(), false) AS is_later
    FROM {SCHEMA}.procrastinate_jobs
), counted AS (
    SELECT
        queue_name,
        count(*) FILTER (WHERE status = 'todo' AND NOT is_later) AS waiting,
        count(*) FILTER (WHERE status = 'todo' AND is_later) AS scheduled,
        count(*) FILTER (WHERE status = 'doing') AS running,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        min(scheduled_at) FILTER (WHERE status = 'todo' AND NOT is_later) AS ready_at,
        min(id) FILTER (WHERE status = 'todo' AND scheduled_at IS NULL) AS first_id
    FROM job GROUP BY queue_name
)
SELECT queue_name, waiting, scheduled, running, failed, coalesce(greatest(0, extract(epoch FROM now() - least(
    ready_at, (SELECT min(at) FROM {SCHEMA}.procrastinate_events WHERE job_id = first_id AND type = 'deferred')
))), 0)::float8 AS oldest_seconds
FROM counted WHERE waiting + scheduled + running + failed > 0 ORDER BY queue_name COLLATE "C"
"""

LIST_FAILED = f"""
SELECT job.id, task_name, queue_name, attempts, coalesce(error, 'unknown') AS error,
    coalesce(failed_at, now()) AS failed_at, coalesce(args -> 'then', '[]') AS then
FROM {SCHEMA}.procrastinate_jobs AS job LEFT JOIN {SCHEMA}.failures ON job_id = job.id
WHERE status = 'failed' ORDER BY failed_at DESC, job.id DESC LIMIT %(limit)s
"""

FORGET_FAILED = f"""
DELETE FROM {SCHEMA}.procrastinate_jobs WHERE status = 'failed' AND id = ANY(%(ids)s::bigint[]) RETURNING id"""

# Of several failed jobs with one key, the newest starts, if none with that key waits or runs.
RETRY_FAILED = f"""
WITH chosen AS (
    SELECT DISTINCT ON (coalesce(queueing_lock, id::text)) id FROM {SCHEMA}.procrastinate_jobs AS job
    WHERE status = 'failed' AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND NOT EXISTS (
        SELECT FROM {SCHEMA}.procrastinate_jobs AS other
        WHERE other.queueing_lock = job.queueing_lock AND other.status IN ('todo', 'doing')
    )
    ORDER BY coalesce(queueing_lock, id::text), id DESC
), forgotten AS (
    DELETE FROM {SCHEMA}.failures USING chosen WHERE job_id = chosen.id
)
UPDATE {SCHEMA}.procrastinate_jobs AS job SET status = 'todo', attempts = 0, worker_id = NULL, scheduled_at = now()
FROM chosen WHERE job.id = chosen.id AND status = 'failed' RETURNING job.id
"""
