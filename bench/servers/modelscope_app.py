"""
MGeo as ModelScope's users serve it: FastAPI, and in every worker one pipeline.

    CHECKPOINT=DIR bench/.venvs/modelscope/bin/python -m uvicorn modelscope_app:app --app-dir bench/servers --workers 4

Every setting of the pipeline is its default; the variable `PADDING` gives another `padding`.
"""

import os
from typing import Any

from fastapi import FastAPI
from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks
from pydantic import BaseModel

app = FastAPI()
given = {"padding": os.environ["PADDING"]} if "PADDING" in os.environ else {}
tagger = pipeline(Tasks.token_classification, model=os.environ["CHECKPOINT"], **given)
tagger("浙江省杭州市")  # The first call takes a second more.


class Address(BaseModel):
    """The body of a request."""

    address: str


@app.post("/parse")
async def parse(body: Address) -> dict[str, Any]:
    """Parse one address."""
    spans = tagger(body.address)["output"]
    # The numbers are numpy's, which FastAPI cannot turn into JSON.
    return {"components": [{k: v if isinstance(v, str) else v.item() for k, v in span.items()} for span in spans]}


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"status": "ready"}
