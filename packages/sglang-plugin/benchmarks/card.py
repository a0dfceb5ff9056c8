"""Cost of asking for entropy on a running server: decode rate and short requests, asked against not asked.

    python packages/sglang-plugin/benchmarks/card.py http://127.0.0.1:30000 [--vocab 49152]

For a server on a GPU (on a CPU use overhead.py); 60 to 90 s on an H100 with SmolLM2-135M. Decode rate: one POST of 16,
64 or 256 prompts, 256 tokens each, read to its last byte. "asked" wants blocks, as the search's client does; "lists" is
the plain form. Rounds take the ways turn about, the first is not counted; the ratio is that of neighbours in one round.
Short requests: 32 tokens each, one POST each, 64 and 256 at once. Wanted: asked / not asked .97 at 16 rows, .95 at 64
and 256. Exit status 1 on a miss.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from typing import Any

import aiohttp

from eduprm.sglang import with_entropy

WANTED = {16: 0.97, 64: 0.95, 256: 0.95}
WAYS = ("not asked", "asked", "lists")


def prompt(number: int, vocab: int) -> list[int]:
    """Prompts that share no prefix, of the length of a short question."""
    return [100 + (number * 7919) % (vocab - 200), *(100 + (number * 31 + at * 17) % 900 for at in range(40))]


def body(ids: list, tokens: int, way: str) -> bytes:
    params: dict[str, Any] = {"max_new_tokens": tokens, "temperature": 0.0, "ignore_eos": True}
    if way != "not asked":
        params = with_entropy(params, blocks=way == "asked")
    return json.dumps({"input_ids": ids, "sampling_params": params}).encode()


def check(answers: list[dict], tokens: int, way: str) -> None:
    for answer in answers:
        assert len(answer["output_ids"]) == tokens
        found = answer["meta_info"].get("entropy")
        assert isinstance(found, {"not asked": type(None), "asked": str, "lists": list}[way]), (way, found)
        assert found is None or len(found) == (4 * tokens + 2) // 3 * 4 or None not in found


async def post(session: aiohttp.ClientSession, url: str, data: bytes) -> bytes:
    async with session.post(url, data=data, headers={"Content-Type": "application/json"}) as answer:
        raw = await answer.read()
        assert answer.status == 200, raw[:300]
        return raw


async def decode(url: str, rows: int, vocab: int, *, tokens: int = 256, rounds: int = 4) -> bool:
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    sizes: dict[str, int] = {}
    ids = [prompt(number, vocab) for number in range(rows)]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        for number in range(rounds + 1):
            for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                data, begin = body(ids, tokens, way), time.perf_counter()
                raw = await post(session, url, data)
                took, sizes[way] = time.perf_counter() - begin, len(raw)
                if number:
                    rates[way].append(rows * tokens / took)
                else:
                    check(json.loads(raw), tokens, way)
    ratios = {
        way: statistics.median(a / b for a, b in zip(rates[way], rates["not asked"], strict=True))
        for way in WAYS
    }
    met = ratios["asked"] >= WANTED[rows]
    shown = ", ".join(
        f"{way} {statistics.median(rates[way]):.0f} tokens/s ({ratios[way]:.3f}, {sizes[way] >> 10} KiB)"
        for way in WAYS
    )
    print(f"{'met ' if met else 'MISS'} {rows} rows: {shown}; wanted {WANTED[rows]}", flush=True)
    return met


async def short(
    url: str, at_once: int, vocab: int, *, count: int = 1024, tokens: int = 32, rounds: int = 3
) -> None:
    rates: dict[str, list[float]] = {way: [] for way in WAYS[:2]}
    gate = asyncio.Semaphore(at_once)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int, way: str) -> None:
            async with gate:
                await post(session, url, body(prompt(number % 256, vocab), tokens, way))

        for number in range(rounds):
            for way in (WAYS[:2], WAYS[1::-1])[number % 2]:
                begin = time.perf_counter()
                await asyncio.gather(*(one(number, way) for number in range(count)))
                rates[way].append(count / (time.perf_counter() - begin))
    found = {way: statistics.median(values) for way, values in rates.items()}
    print(
        f"     short requests, {at_once} at once: "
        + ", ".join(f"{way} {rate:.0f} requests/s" for way, rate in found.items())
        + f" ({found['asked'] / found['not asked']:.3f})",
        flush=True,
    )


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--rows", type=int, nargs="+", choices=WANTED, default=list(WANTED))
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    url = options.url.rstrip("/") + "/generate"
    met = [await decode(url, rows, options.vocab, rounds=options.rounds) for rows in options.rows]
    for at_once in (64, 256):
        await short(url, at_once, options.vocab)
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
