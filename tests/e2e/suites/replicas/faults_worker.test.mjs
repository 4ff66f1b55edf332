// The worker: what api processes report about the living reaches the rows whatever happens to it, and what it finds out
// by itself reaches clients of every replica.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../../lib/client.mjs';
import { Cluster } from '../../lib/cluster.mjs';
import { Locker } from '../../lib/locker.mjs';
import { until } from '../../lib/wait.mjs';

const KEY = 'presence:alive:v1';
const GROUP = 'presence-worker';
const CLAIMED_AFTER_MS = 60_000;
const SILENT_MS = 11 * 60_000;
const SUBJECTS = 8;

let cluster;
let account;
before(async () => {
  cluster = await Cluster.start(['worker', 'api', 'api'], { node: 1 });
  account = await Account.login(cluster.replicas[0]);
});
after(() => cluster?.remove());
afterEach(closeDevices);

/** Entries that a worker has read and not acknowledged. */
const pending = async () => Number((await cluster.redis.client.xpending(KEY, GROUP))[0]);

/** Entries that no worker has read. */
async function unread() {
  const [group] = await cluster.redis.client.xinfo('GROUPS', KEY);
  return group[group.indexOf('lag') + 1];
}

/** From now on, and until it is unlocked, the worker reads and cannot write. */
async function withoutWrites() {
  const locker = new Locker(cluster.storage.DATABASE_URL);
  await locker.lockTables('Machine', 'Session');
  return locker;
}

/** New machines and sessions, whose rows are not alive yet. */
async function subjects(count = SUBJECTS) {
  const machines = await Promise.all(Array.from({ length: count }, () => account.machine()));
  const sessions = await Promise.all(Array.from({ length: count }, () => account.session()));
  // So long ago that every sign of life is worth a write.
  await cluster.rows(`UPDATE "Session" SET "lastActiveAt" = now() - interval '5 minutes' WHERE "accountId" = '${await account.id()}'`);
  await cluster.rows(`UPDATE "Machine" SET "lastActiveAt" = now() - interval '5 minutes' WHERE "accountId" = '${await account.id()}'`);
  return { machines, sessions };
}

/** Every machine and session is reported by one api or the other; gives the times. */
async function report({ machines, sessions }, devices) {
  const times = new Map();
  const base = Date.now() - 5_000;
  for (const [n, id] of [...machines, ...sessions].entries()) {
    times.set(id, base + n);
    const device = devices[n % devices.length];
    if (machines.includes(id)) device.socket.emit('machine-alive', { machineId: id, time: base + n });
    else device.socket.emit('session-alive', { sid: id, time: base + n, thinking: false });
  }
  await Promise.all(devices.map((device) => device.fence()));
  return times;
}

async function areStored(times) {
  const rows = [];
  for (const table of ['Machine', 'Session']) {
    rows.push(...(await cluster.rows(`SELECT id, active, round(extract(epoch FROM "lastActiveAt") * 1000) FROM "${table}"`)));
  }
  const stored = new Map(rows.map(([id, active, ms]) => [id, active === 't' ? Number(ms) : null]));
  return [...times].every(([id, ms]) => stored.get(id) === ms);
}

test('reports of all api processes reach the rows', async () => {
  const devices = await Promise.all(cluster.replicas.map((server) => account.device({ server }).ready()));
  const times = await report(await subjects(), devices);
  await until(() => areStored(times), 'stored');
  await until(async () => (await pending()) === 0, 'acknowledged');
});

test('a session that was ended stays so, whatever is still in the queue', async () => {
  const device = await account.device().ready();
  const { sessions: [ended, lively] } = await subjects(2);
  const at = Date.now() - 5_000;
  device.socket.emit('session-alive', { sid: ended, time: at, thinking: false });
  await device.fence();
  await until(async () => (await unread()) > 0 || (await pending()) > 0, 'in the queue');
  device.socket.emit('session-end', { sid: ended, time: at + 1 });
  await until(() => device.ephemerals.some(({ id, active }) => id === ended && !active), 'ended');
  // Another replica's report from before the end, and one that leaves out its account, which it may.
  await cluster.redis.client.xadd(KEY, '*', 'kind', 'session', 'id', ended, 'ts', String(at - 1), 'accountId', await account.id());
  await cluster.redis.client.xadd(KEY, '*', 'kind', 'session', 'id', lively, 'ts', String(at + 2), 'accountId', '');
  await until(() => areStored(new Map([[lively, at + 2]])), 'stored');
  await until(async () => (await pending()) === 0 && (await unread()) === 0, 'acknowledged');
  const rows = await cluster.rows(`SELECT active, round(extract(epoch FROM "lastActiveAt") * 1000) FROM "Session" WHERE id = '${ended}'`);
  assert.deepEqual(rows, [['f', String(at + 1)]]);
});

test('killed between reading and writing: the next worker claims what was read, and nothing is lost', async () => {
  const devices = await Promise.all(cluster.replicas.map((server) => account.device({ server }).ready()));
  const [early, late] = [await subjects(), await subjects()];
  const locker = await withoutWrites();
  const first = await report(early, devices);
  await until(async () => (await pending()) === first.size, 'all of it read');
  await cluster.worker.kill();
  await locker.cancelWaiting();
  await locker.unlock();
  assert.equal(await pending(), first.size, 'nothing of it acknowledged');
  const second = await report(late, devices);
  // What nobody can make sense of is taken from the queue all the same.
  for (const fields of [['kind', 'house', 'id', 'x', 'ts', '1', 'accountId', ''], ['kind', 'machine', 'id', 'x', 'ts', 'soon', 'accountId', 'a'], ['ts', '1']]) {
    await cluster.redis.client.xadd(KEY, '*', ...fields);
  }
  await until(async () => (await unread()) >= second.size + 3, 'waiting for a worker');
  // As if a minute had passed: only then does one worker take from another.
  for (const [id, consumer] of await cluster.redis.client.xpending(KEY, GROUP, '-', '+', 1_000)) {
    await cluster.redis.client.xclaim(KEY, GROUP, consumer, 0, id, 'IDLE', CLAIMED_AFTER_MS + 1_000, 'JUSTID');
  }
  await cluster.worker.resume();
  await until(() => areStored(new Map([...first, ...second])), 'stored');
  await until(async () => (await pending()) === 0 && (await unread()) === 0, 'acknowledged');
  assert.ok(cluster.worker.alive);
});

test('ended orderly: what was read is written before the end', async () => {
  const devices = await Promise.all(cluster.replicas.map((server) => account.device({ server }).ready()));
  const some = await subjects();
  const locker = await withoutWrites();
  const times = await report(some, devices);
  await until(async () => (await pending()) === times.size, 'all of it read');
  const ending = cluster.worker.terminate();
  await locker.unlock();
  assert.equal((await ending).code, 0);
  assert.ok(await areStored(times));
  assert.equal(await pending(), 0);
});

test('who has fallen silent is shown so by every replica', async () => {
  const machine = await account.machine();
  const session = await account.session();
  for (const [table, id] of [['Machine', machine], ['Session', session]]) {
    await cluster.rows(`UPDATE "${table}" SET active = true, "lastActiveAt" = now() - interval '${SILENT_MS} milliseconds' WHERE id = '${id}'`);
  }
  const devices = await Promise.all([...cluster.replicas, cluster.nodes[0]].map((server) => account.device({ server }).ready()));
  await cluster.worker.resume(); // looks at once
  for (const device of devices) {
    await until(() => device.ephemerals.length >= 2, 'told of both');
    const seen = device.ephemerals.filter(({ id }) => id === machine || id === session);
    assert.deepEqual(seen.map(({ type, active }) => `${type} ${active}`).sort(), ['activity false', 'machine-activity false']);
    for (const { activeAt } of seen) assert.ok(Math.abs(Date.now() - SILENT_MS - activeAt) < 60_000);
  }
  const active = await cluster.rows(`SELECT active FROM "Machine" WHERE id = '${machine}' UNION ALL SELECT active FROM "Session" WHERE id = '${session}'`);
  assert.deepEqual(active, [['f'], ['f']]);
  assert.deepEqual(await cluster.faults(), []);
});
