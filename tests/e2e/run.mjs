#!/usr/bin/env node
// Starts the suites for each flavor; every suite starts the servers it needs. The last line is `N passed, N failed`.
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { finished } from 'node:stream/promises';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Postgres } from './lib/postgres.mjs';
import { seed } from './lib/random.mjs';
import { serverBinary } from './lib/server.mjs';

const USAGE = `node run.mjs [options]
  --flavor KIND          light, full or both (default: both, or full with --replicas)
  --replicas             the suites of several processes on one Redis (full flavor only) instead of those of one process
  --only NAME            only the suites whose name contains NAME (may be given several times)
  --io-driver KIND       auto, uring or epoll (default: the server's own choice)
  --setting NAME=VALUE   one more setting for every server (may be given several times)
  --seed N               replay a run; every run prints its seed
  --jobs N               suites at the same time (default 2)
the server is target/release/happier-server, or what HAPPIER_SERVER_BIN names`;

const SUITE_TIMEOUT_MS = 600_000; // the longest takes a minute
const folder = join(dirname(fileURLToPath(import.meta.url)), 'suites');

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        flavor: { type: 'string' },
        replicas: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        'io-driver': { type: 'string' },
        setting: { type: 'string', multiple: true, default: [] },
        seed: { type: 'string', default: String(seed) },
        jobs: { type: 'string', default: '2' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    values.flavor ??= values.replicas ? 'full' : 'both';
    if (values.replicas && values.flavor !== 'full') throw new Error(`--flavor is ${values.flavor}, but replicas have the full flavor`);
    if (!['light', 'full', 'both'].includes(values.flavor)) throw new Error(`--flavor is ${values.flavor}, expected light, full or both`);
    for (const name of ['seed', 'jobs']) {
      if (!/^\d+$/.test(values[name])) throw new Error(`--${name} is ${values[name]}, expected a whole number`);
    }
    const settings = values.setting.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new Error(`--setting is ${pair}, expected NAME=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    });
    if (values['io-driver']) settings.push(['HAPPIER_IO_DRIVER', values['io-driver']]);
    const suites = values.replicas ? join(folder, 'replicas') : folder;
    const files = readdirSync(suites).filter((f) => f.endsWith('.test.mjs') && (values.only.length === 0 || values.only.some((n) => f.includes(n))));
    for (const name of values.only) if (!files.some((file) => file.includes(name))) throw new Error(`no suite is called ${name}`);
    return { ...values, settings: Object.fromEntries(settings), files: files.sort().map((f) => join(suites, f)) };
  } catch (error) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** Runs the files and counts what their tests say; a file that breaks outside of a test counts as a failure. */
async function runSuites(options) {
  const count = { passed: 0, failed: 0 };
  const events = run({ files: options.files, concurrency: Number(options.jobs), timeout: SUITE_TIMEOUT_MS });
  const isTest = (data) => data.details?.type !== 'suite';
  events.on('test:pass', (data) => {
    if (data.skip !== undefined || data.todo !== undefined) count.failed += 1; // nothing here may be left out silently
    else if (isTest(data)) count.passed += 1;
  });
  events.on('test:fail', (data) => {
    if (isTest(data)) count.failed += 1;
  });
  const report = events.compose(new spec());
  report.pipe(process.stdout, { end: false });
  await finished(report);
  return count;
}

const options = readOptions();
console.log(`server ${serverBinary()}, seed ${options.seed}`);
process.env.E2E_SEED = options.seed;
process.env.E2E_SETTINGS = JSON.stringify(options.settings);
const total = { passed: 0, failed: 0 };
for (const flavor of options.flavor === 'both' ? ['light', 'full'] : [options.flavor]) {
  console.log(`\nflavor ${flavor}`);
  process.env.E2E_FLAVOR = flavor;
  let postgres = null;
  if (flavor === 'full') {
    postgres = await Postgres.create();
    postgres.share();
  }
  const count = await runSuites(options);
  await postgres?.remove();
  total.passed += count.passed;
  total.failed += count.failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
