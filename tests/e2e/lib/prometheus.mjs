// The metrics page as Prometheus reads it: the parser of its Python client (Debian package python3-prometheus-client).
import { spawnSync } from 'node:child_process';

const READ = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
json.dump([{
    "name": family.name, "type": family.type, "help": family.documentation,
    "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
} for family in text_string_to_metric_families(sys.stdin.read())], sys.stdout)
`;

/** Debian's package belongs to Debian's Python, which need not be the first one. */
const python = ['python3', '/usr/bin/python3'].find((name) => spawnSync(name, ['-c', 'import prometheus_client.parser']).status === 0);

export class Page {
  static async get(base) {
    if (!python) throw new Error('no Python with prometheus_client found: install the Debian package python3-prometheus-client');
    const answer = await fetch(`${base}/metrics`, { headers: { Connection: 'close' } });
    const page = new Page();
    page.status = answer.status;
    page.contentType = answer.headers.get('content-type');
    page.text = await answer.text();
    const read = spawnSync(python, ['-c', READ], { input: page.text, encoding: 'utf8', maxBuffer: 1 << 26 });
    if (read.status !== 0) throw new Error(`Prometheus cannot read the page:\n${read.stderr}`);
    page.families = JSON.parse(read.stdout);
    page.samples = page.families.flatMap((family) => family.samples.map(([name, labels, value]) => ({ name, labels, value })));
    return page;
  }

  /** The family of a metric: its name in the parser has no `_total`. */
  family(name) {
    return this.families.find((family) => family.name === name.replace(/_total$/, '') || family.name === name);
  }

  /** Every sample of this name with these labels, among others. */
  series(name, labels = {}) {
    return this.samples.filter((one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value));
  }

  /** Their sum; 0 if there is none yet. */
  value(name, labels) {
    return this.series(name, labels).reduce((sum, one) => sum + one.value, 0);
  }
}
