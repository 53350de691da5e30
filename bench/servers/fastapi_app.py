"""
FastAPI as its tutorial has it: a pydantic body, an `async def` handler, one address at a time.

    bench/.venvs/fastapi/bin/python bench/servers/fastapi_app.py PORT
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from shared_parser import Parser

app = FastAPI()
parser = Parser()


class Address(BaseModel):
    """The body of a request."""

    address: str


@app.post("/parse")
async def parse(body: Address) -> dict[str, Any]:
    """Parse one address."""
    return parser.parse([body.address])[0]


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
