"""Writes what comes out of every cell, and the table of them: `python -m tests.golden.generate`.

Read the difference before you commit it: these files are what the tests hold the gateway to.
"""

from tests.golden.cells import HERE, NAMES, cells, expected_file, make, reply_cases, request_cases, written

TABLE = HERE / "TABLE.md"
INTRO = """# The matrix

Clients' dialects down, providers' across. Written by `python -m tests.golden.generate`, held by `test_golden.py`.

- `=`: passed on unchanged but for the model's name. `file`: translated, as the file says. A name: dropped on the way,
  and told to the client in `X-Gateway-Dropped`. A number: the HTTP status. `none`: the dialect has no way to say this.
"""


def main() -> None:
    """Write all files, and remove those of cells that are gone."""
    wanted = {TABLE}
    for kind, case, client, provider in cells():
        made, file = make(kind, case, client, provider), expected_file(kind, case, client, provider)
        if not made.unchanged:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(written(made, file.suffix))
            wanted.add(file)
    for kind in ("requests", "replies"):
        for file in (HERE / kind).glob("*/*-*"):
            if file not in wanted:
                file.unlink()
    TABLE.write_text(table())


def table() -> str:
    """The table of all cells."""
    found = {cell: _mark(*cell) for cell in cells()}
    parts = [INTRO]
    for kind, cases in (("requests", request_cases()), ("replies", reply_cases())):
        parts.append(f"\n## {kind.capitalize()}\n")
        for case in cases:
            lines = [f"\n### {case}\n", f"| client | {' | '.join(NAMES)} |", "| --- | --- | --- | --- | --- |"]
            for client in NAMES:
                row = [found.get((kind, case, client, provider), "none") for provider in NAMES]
                lines.append(f"| {client} | {' | '.join(row)} |")
            parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _mark(kind: str, case: str, client: str, provider: str) -> str:
    made = make(kind, case, client, provider)
    words = ["=" if made.unchanged else "file"]
    words += [str(made.status)] if made.status != 200 else []
    return ", ".join([*words, *made.dropped])


if __name__ == "__main__":
    main()
