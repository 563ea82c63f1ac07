"""Jobs of two types, one of which fails at first, run by a worker in this process."""

import asyncio
from datetime import timedelta

from kpi_kit.queue import Job, Queue, Retry, Run


class SendReport(Job, on="reports", retry=Retry(attempts=3, first=timedelta(milliseconds=10))):
    """What the handler needs, stored as JSON: the id of the report, not the report."""

    report_id: int


class DeleteDraft(Job):
    report_id: int


async def send_report(job: SendReport, run: Run) -> None:
    if run.attempt == 1:
        raise ConnectionError("the mail server does not respond")
    print(f"report {job.report_id} is sent in attempt {run.attempt}")


async def delete_draft(job: DeleteDraft, _run: Run) -> None:
    print(f"the draft of report {job.report_id} is deleted")


async def main() -> None:
    # In a service: Queue.from_url(settings.queue_url), a postgresql:// URL.
    queue = Queue.from_url("memory://")
    queue.handle(SendReport, send_report)
    queue.handle(DeleteDraft, delete_draft)
    async with queue:
        first = await queue.push(SendReport(report_id=7), unique="report 7")
        again = await queue.push(SendReport(report_id=7), unique="report 7")
        print(f"pushed once: {first.id == again.id and not again.is_new}")
        await queue.chain([SendReport(report_id=8), DeleteDraft(report_id=8)])
        async with queue.work("reports", "default", concurrency=2):
            while await queue.status():
                await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
