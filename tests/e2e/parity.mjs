#!/usr/bin/env node
// Starts a server, or replicas of one, and runs the parity scenarios against it. Options behind `--` go to the scenario
// runner.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Postgres } from './lib/postgres.mjs';

const tests = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    flavor: { type: 'string' },
    setting: { type: 'string', multiple: true, default: [] },
    replicas: { type: 'string' }, // a worker and so many processes that answer clients, on one Redis
  },
});
const flavor = values.flavor ?? (values.replicas ? 'full' : 'light');

process.env.E2E_FLAVOR = flavor;
process.env.E2E_SETTINGS = JSON.stringify(Object.fromEntries(values.setting.map((pair) => pair.split(/=(.*)/s).slice(0, 2))));
const { Server } = await import('./lib/server.mjs');
const { Cluster } = await import('./lib/cluster.mjs');

const postgres = flavor === 'full' ? await Postgres.create() : null;
postgres?.share();
const cluster = values.replicas ? await Cluster.start(['worker', ...Array(Number(values.replicas)).fill('api')]) : null;
const servers = cluster?.servers ?? [await Server.start()];
const url = (cluster?.replicas ?? servers).map((server) => server.url).join();
// With the runner's own 60 ms, a time that a scenario calls "300 ms ago" can be the very millisecond in which the server
// answered four expectations earlier, and the transcript shows the wrong name.
// Between replicas events are late by what a busy machine makes of a way through Redis; the runner's own time is 300 ms.
const settle = ['--settle', cluster ? '500' : '120'];
const args = ['--url', url, '--flavor', flavor, '--deviations', resolve(tests, 'parity-deviations.json'), ...settle, ...positionals];
const runner = spawn(process.execPath, [resolve(tests, 'parity/run.mjs'), ...args], { stdio: 'inherit' });
let [code] = await once(runner, 'exit');
for (const server of servers.filter(({ alive }) => !alive)) {
  console.error(`a server ended during the scenarios; its output:\n${server.child.output}`);
  code = 1;
}
// What a server complained of says more than a transcript.
for (const server of code === 0 ? [] : servers) {
  const complaints = server.child.output.split('\n').filter((line) => /\b(WARN|ERROR)\b/i.test(line));
  if (complaints.length > 0) console.error(`${server.url ?? 'the worker'} said:\n${complaints.slice(-50).join('\n')}`);
}
for (const fault of (await cluster?.faults()) ?? []) {
  console.error(`said to other replicas: ${fault}`);
  code = 1;
}
for (const server of servers) if (server.alive) await server.terminate();
await cluster?.remove();
await postgres?.remove();
process.exit(code);
