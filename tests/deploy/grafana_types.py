"""Holds the dashboards against Grafana's own types: `make dashboards`. Brings @grafana/schema and TypeScript from npm.

Grafana itself is not needed: a misspelt member, a wrong type or a missing one is found all the same.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy" / "grafana").glob("*.json"))
PACKAGES = ("@grafana/schema@12", "typescript@5")
HEAD = """import { ThresholdsMode, type Dashboard, type DataQuery } from '@grafana/schema';
type PrometheusQuery = DataQuery & { expr: string };
export const dashboard: Dashboard = """
OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext")


def source(path: Path) -> str:
    """The dashboard as TypeScript: a literal, since only in one are members that do not exist a mistake."""
    dashboard = json.loads(path.read_text())
    text = json.dumps(dashboard, indent=1).replace('"mode": "absolute"', '"mode": ThresholdsMode.Absolute')
    for annotation in dashboard["annotations"]["list"]:
        query = json.dumps(annotation["target"], indent=1).replace("\n", "\n    ")
        text = text.replace(query, f"{query} as PrometheusQuery")
    return f"{HEAD}{text};\n"


def main() -> int:
    """The exit code of the compiler, which names each mistake."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "install", "--silent", "--ignore-scripts", *PACKAGES], cwd=folder, check=True)
        names = []
        for path in DASHBOARDS:
            names.append(f"{path.stem}.ts")
            Path(folder, names[-1]).write_text(source(path))
        done = subprocess.run(["npx", "tsc", *OPTIONS, *names], cwd=folder, check=False)
    sys.stdout.write(f"{len(names)} dashboards: {'right' if done.returncode == 0 else 'wrong'}\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
