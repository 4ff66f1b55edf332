// What one account may have under way: beyond its limits events are refused at once, and nobody else notices.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Http, Polling } from '../lib/engineio.mjs';
import { Locker } from '../lib/locker.mjs';
import { metric } from '../lib/metrics.mjs';
import { Server, flavor } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const EVENTS_MAX = 1_000;
const BYTES_MAX = 16 << 20;
const REFUSED = 'happier_events_refused_total';

const INTERNAL = { result: 'error', message: 'Internal error' };

let server;
let http;
let account;
before(async () => {
  server = await Server.start({ settings: { HAPPIER_CORES: '1' }, metrics: true });
  http = new Http(server);
  account = await Account.login(server);
});
after(async () => {
  http.close();
  assert.equal((await server.terminate()).code, 0);
});
afterEach(closeDevices);

/** The answers to `count` events with the numbers from 0 on, by number. */
async function answers(polling, count) {
  const found = new Map();
  while (found.size < count) {
    for (const packet of (await polling.poll()).text.split('\u001e')) {
      const [, id, argument] = /^43(\d+)\[(.*)\]$/s.exec(packet) ?? [];
      if (id !== undefined) found.set(Number(id), JSON.parse(argument));
    }
  }
  return found;
}

// All of a POST is taken in before any answer of the database.
for (const [event, data, done, refused] of [
  ['artifact-read', { artifactId: 'none' }, { result: 'error', message: 'Artifact not found' }, INTERNAL],
  ['update-state', { sid: 'none', agentState: null, expectedVersion: 0 }, { result: 'error' }, { result: 'error' }],
  ['access-key-get', { sessionId: 'none', machineId: 'none' }, { ok: false, error: 'Session or machine not found' }, { ok: false, error: 'Internal error' }],
]) {
  test(`of more than a thousand events ${event} at once the last are refused`, async () => {
    const polling = await Polling.open(http, account.token);
    const before = await metric(server, REFUSED).catch(() => 0);
    const count = EVENTS_MAX + 100;
    const packets = Array.from({ length: count }, (_, n) => `42${n}${JSON.stringify([event, data])}`);
    assert.equal((await polling.post([...packets, `42${count}["ping"]`].join('\u001e'))).status, 200);
    const found = await answers(polling, count + 1);
    for (let n = 0; n < count; n++) assert.deepEqual(found.get(n), n < EVENTS_MAX ? done : refused, `${n}`);
    assert.equal((await metric(server, REFUSED)) - before, 100);
    // Once they are answered there is room again, and there was all the time for others.
    await polling.post(`420${JSON.stringify([event, data])}`);
    assert.deepEqual((await answers(polling, 1)).get(0), done);
    await polling.post('1');
  });
}

if (flavor === 'full') {
  // SQLite has no tables that somebody could hold, so there is no such test of the light flavor.
  test('of more than 16 MiB that wait for the database the last are refused', async () => {
    const devices = [await account.device().ready(), await account.device().ready()];
    // Reading is little work, however much is sent along.
    const read = ['artifact-read', { artifactId: 'none', unused: 'x'.repeat(800_000) }];
    const taken = Math.floor(BYTES_MAX / JSON.stringify(read).length);
    const locker = new Locker(server.storage.DATABASE_URL);
    await locker.run('BEGIN; LOCK TABLE "Artifact" IN ACCESS EXCLUSIVE MODE');
    const results = [];
    let next = 0;
    const ask = () => devices[next++ % 2].ask(...read);
    const all = Array.from({ length: taken + 3 }, async () => results.push(await ask()));
    await until(() => results.length >= 3, 'refused');
    for (const device of devices) await device.fence();
    assert.deepEqual(results, [INTERNAL, INTERNAL, INTERNAL]);
    await locker.unlock();
    await Promise.all(all);
    const done = { result: 'error', message: 'Artifact not found' };
    assert.deepEqual(results.slice(3), Array.from({ length: taken }, () => done));
    assert.deepEqual(await ask(), done);
  });
}
