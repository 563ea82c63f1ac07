"""Jobs of two types, pushed with a key, in a chain and for later, and run by a worker in this process."""

import asyncio
from datetime import timedelta

from kpi_kit.queue import Job, Queue, Retry, Run


class SendReport(Job, on="reports", retry=Retry(attempts=8, first=timedelta(seconds=10))):
    """What the handler needs, stored as JSON: the id of the report, not the report."""

    report_id: int


class DeleteDraft(Job):
    report_id: int


async def send_report(job: SendReport, run: Run) -> None:
    print(f"report {job.report_id} is sent in attempt {run.attempt}")


async def main() -> None:
    is_deleted = asyncio.Event()

    async def delete_draft(job: DeleteDraft, _run: Run) -> None:
        print(f"the draft of report {job.report_id} is deleted")
        is_deleted.set()

    # In a service: Queue.from_url(settings.queue_url), a postgresql:// URL.
    queue = Queue.from_url("memory://")
    queue.handle(SendReport, send_report)
    queue.handle(DeleteDraft, delete_draft)
    async with queue:
        await queue.later(SendReport(report_id=6), delay=timedelta(days=1))
        first = await queue.push(SendReport(report_id=7), unique="report 7")
        again = await queue.push(SendReport(report_id=7), unique="report 7")
        print(f"pushed once: {first.id == again.id and not again.is_new}")
        await queue.chain([SendReport(report_id=8), DeleteDraft(report_id=8)])
        async with queue.work("reports", "default", concurrency=2):
            await is_deleted.wait()
        print(f"waiting for tomorrow: {(await queue.status())[0].scheduled}")


if __name__ == "__main__":
    asyncio.run(main())
