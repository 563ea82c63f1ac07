"""The application; as documented for production, run it with `fastapi run` or `uvicorn monolith.main:app`."""

from fastapi import FastAPI

from monolith import auth, posts

app = FastAPI(title="A monolith", docs_url=None)
app.include_router(auth.router)
app.include_router(posts.router)


@app.get("/health/ready")
def ready() -> dict[str, str]:
    return {"status": "ok"}
