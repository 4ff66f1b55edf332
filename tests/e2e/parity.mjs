#!/usr/bin/env node
// Starts a server and runs the parity scenarios against it. Options behind `--` go to the scenario runner.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Postgres } from './lib/postgres.mjs';

const tests = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { flavor: { type: 'string', default: 'light' }, setting: { type: 'string', multiple: true, default: [] } },
});

process.env.E2E_FLAVOR = values.flavor;
process.env.E2E_SETTINGS = JSON.stringify(Object.fromEntries(values.setting.map((pair) => pair.split(/=(.*)/s).slice(0, 2))));
const { Server } = await import('./lib/server.mjs');

const postgres = values.flavor === 'full' ? await Postgres.create() : null;
const server = await Server.start({ postgres });
const args = ['--url', server.url, '--flavor', values.flavor, '--deviations', resolve(tests, 'parity-deviations.json'), ...positionals];
const runner = spawn(process.execPath, [resolve(tests, 'parity/run.mjs'), ...args], { stdio: 'inherit' });
const [code] = await once(runner, 'exit');
const alive = server.alive;
if (!alive) console.error(`the server ended during the scenarios; its output:\n${server.child.output}`);
else await server.terminate();
await postgres?.remove();
process.exit(alive ? code : 1);
