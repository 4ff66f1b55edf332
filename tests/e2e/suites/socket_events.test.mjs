// Events of machines, artifacts, usage reports and access keys: what only shows up under contention, with input that no
// database stores, and on transports whose connections live on another core than their account.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Server } from '../lib/server.mjs';
import { PATIENCE_MS, until } from '../lib/wait.mjs';

let server;
before(async () => {
  server = await Server.start({ settings: { HAPPIER_CORES: '4' } });
});
after(() => server.terminate());
afterEach(closeDevices);

const INVALID = { result: 'error', message: 'Invalid parameters' };
const INTERNAL = { result: 'error', message: 'Internal error' };
const UNSTORABLE = ['half of a pair: \ud800', 'a zero: \0'];

async function prepare(options) {
  const account = await Account.login(server);
  const session = await account.session();
  const machine = randomUUID();
  await account.ask('POST', '/v1/machines', { id: machine, metadata: 'metadata' });
  const device = await account.device(options).ready();
  return { account, device, session, machine };
}

test('what no database stores is an internal error and changes nothing', async () => {
  const { account, device, session, machine } = await prepare();
  const amounts = { tokens: { total: 1 }, cost: { total: 1 } };
  const key = { dataEncryptionKey: 'AAAA' };
  for (const text of UNSTORABLE) {
    assert.deepEqual(await device.ask('machine-update-metadata', { machineId: machine, metadata: text, expectedVersion: 1 }), INTERNAL);
    assert.deepEqual(await device.ask('machine-update-state', { machineId: machine, daemonState: text, expectedVersion: 0 }), INTERNAL);
    assert.deepEqual(await device.ask('machine-update-state', { machineId: text, daemonState: 'x', expectedVersion: 0 }), INTERNAL);
    assert.deepEqual(await device.ask('artifact-create', { id: text, header: '', body: '', ...key }), INTERNAL);
    assert.deepEqual(await device.ask('artifact-create', { id: 'x', header: text, body: '', ...key }), INTERNAL);
    assert.deepEqual(await device.ask('artifact-read', { artifactId: text }), INTERNAL);
    assert.deepEqual(await device.ask('artifact-delete', { artifactId: text }), INTERNAL);
    const refused = { success: false, error: 'Failed to save usage report' };
    assert.deepEqual(await device.ask('usage-report', { key: text, sessionId: session, ...amounts }), refused);
    assert.deepEqual(await device.ask('usage-report', { key: 'k', sessionId: text, ...amounts }), refused);
    assert.deepEqual(await device.ask('usage-report', { ...amounts, key: 'k', sessionId: session, tokens: { total: 1, text } }), refused);
    assert.deepEqual(await device.ask('access-key-get', { sessionId: text, machineId: machine }), { ok: false, error: 'Internal error' });
  }
  const stored = (await account.ask('GET', `/v1/machines/${machine}`)).machine;
  assert.deepEqual([stored.metadata, stored.metadataVersion, stored.daemonState], ['metadata', 1, null]);
  assert.deepEqual(await account.ask('GET', '/v1/artifacts'), []);
  assert.equal((await account.ask('POST', '/v1/usage/query', {})).totalReports, 0);
});

test('no data, and data with company', async () => {
  const { device, machine } = await prepare();
  assert.deepEqual(await device.socket.timeout(PATIENCE_MS).emitWithAck('artifact-read'), INTERNAL);
  assert.deepEqual(await device.socket.timeout(PATIENCE_MS).emitWithAck('artifact-read', {}, 'more', null), INVALID);
  const edit = { machineId: machine, metadata: 'two', expectedVersion: 1 };
  const answer = await device.socket.timeout(PATIENCE_MS).emitWithAck('machine-update-metadata', edit, { expectedVersion: 7 });
  assert.deepEqual(answer, { result: 'success', version: 2, metadata: 'two' });
});

test('a version that cannot be matches nothing', async () => {
  const { device, machine } = await prepare();
  for (const expectedVersion of [0.5, -1, 1e300, 2 ** 31, 2 ** 63]) {
    assert.deepEqual(await device.ask('machine-update-metadata', { machineId: machine, metadata: 'x', expectedVersion }), {
      result: 'version-mismatch',
      version: 1,
      metadata: 'metadata',
    });
    assert.deepEqual(await device.ask('machine-update-state', { machineId: machine, daemonState: 'x', expectedVersion }), {
      result: 'version-mismatch',
      version: 0,
      daemonState: null,
    });
  }
});

test('of writers who saw the same version one wins, and the others are shown what is stored', async () => {
  const { account, machine } = await prepare();
  const id = randomUUID();
  const devices = await Promise.all(Array.from({ length: 8 }, () => account.device().ready()));
  await devices[0].ask('artifact-create', { id, header: 'AAAA', body: 'AAAA', dataEncryptionKey: 'AAAA' });

  const states = await Promise.all(
    devices.map((device, i) => device.ask('machine-update-state', { machineId: machine, daemonState: `state ${i}`, expectedVersion: 0 })),
  );
  const [winner, ...others] = states.filter((answer) => answer.result === 'success');
  assert.deepEqual([winner.version, others.length], [1, 0]);
  for (const answer of states) assert.deepEqual([answer.version, answer.daemonState], [1, winner.daemonState]);

  const part = (i) => ({ data: Buffer.from(`part ${i} `).toString('base64'), expectedVersion: 1 });
  const updates = await Promise.all(devices.map((device, i) => device.ask('artifact-update', { artifactId: id, header: part(i), body: part(i) })));
  const won = updates.filter((answer) => answer.result === 'success');
  assert.equal(won.length, 1);
  assert.deepEqual(won[0].header, { version: 2, data: won[0].body.data });
  for (const answer of updates.filter((other) => other !== won[0])) {
    const current = { currentVersion: 2, currentData: won[0].header.data };
    assert.deepEqual(answer, { result: 'version-mismatch', header: current, body: current });
  }
  // Each of the three changes is told once, and in order, to everybody.
  await Promise.all(devices.map((device) => device.fence()));
  for (const device of devices) {
    assert.deepEqual(device.updates.map((update) => update.body.t), ['new-artifact', 'update-machine', 'update-artifact']);
    const seqs = device.updates.map((update) => update.seq);
    assert.deepEqual(seqs, seqs.toSorted((a, b) => a - b));
  }
});

test('usage reports of one connection are stored in their order', async () => {
  const { account, device, session } = await prepare();
  const seen = [];
  const phone = await account.device().ready();
  phone.socket.on('ephemeral', (event) => seen.push(event));
  const totals = Array.from({ length: 40 }, (_, i) => i + 1);
  const report = (total) => device.ask('usage-report', { key: 'the same', sessionId: session, tokens: { total, note: `n${total}` }, cost: { total: 0 } });
  const answers = await Promise.all(totals.map(report));
  assert.equal(new Set(answers.map((answer) => answer.reportId)).size, 1);
  await until(() => seen.length === totals.length, 'all reports shown');
  assert.deepEqual(seen.map((event) => event.tokens), totals.map((total) => ({ total, note: `n${total}` })));
  const { usage, totalReports } = await account.ask('POST', '/v1/usage/query', {});
  assert.deepEqual([totalReports, usage[0].tokens.total], [1, totals.length]);
});

test('usage reports have the same limits on both doors', async () => {
  const { account, device, session } = await prepare();
  const amounts = (count) => Object.fromEntries(Array.from({ length: count }, (_, n) => [n ? `n${n}` : 'total', 1]));
  const report = (tokens, cost) => ({ key: 'k', sessionId: session, tokens, cost });
  const text = 'tokens and cost may have at most 1000 entries and 65536 bytes each';
  for (const large of [amounts(1_001), { total: 1, note: 'x'.repeat(65_536) }]) {
    for (const data of [report(large, amounts(1)), report(amounts(1), large)]) {
      assert.deepEqual(await device.ask('usage-report', data), { success: false, error: text });
    }
  }
  const answer = await account.request('POST', '/v2/usage-reports', report(amounts(1_001), amounts(1)));
  assert.deepEqual([answer.status, answer.body], [400, { error: text }]);
  assert.equal((await device.ask('usage-report', report(amounts(1_000), amounts(1_000)))).success, true);
  const { usage, totalReports } = await account.ask('POST', '/v1/usage/query', {});
  assert.deepEqual([totalReports, Object.keys(usage[0].tokens).length], [1, 1_000]);
});

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  test(`the sender is told before its event is answered (${transports.join(', then ')})`, async () => {
    // Accounts are spread over the cores; some of these connections are away from home.
    for (let i = 0; i < 6; i++) {
      const { device, session, machine } = await prepare({ transports });
      const order = [];
      device.socket.on('update', (update) => order.push(update.body.t));
      device.socket.on('ephemeral', (event) => order.push(event.type));
      const id = randomUUID();
      const ask = async (event, data) => order.push((await device.ask(event, data)).result ?? 'success');
      await ask('machine-update-metadata', { machineId: machine, metadata: 'two', expectedVersion: 1 });
      await ask('artifact-create', { id, header: '', body: '', dataEncryptionKey: '' });
      await ask('artifact-update', { artifactId: id, body: { data: 'AAAA', expectedVersion: 1 } });
      await ask('artifact-delete', { artifactId: id });
      await ask('usage-report', { key: 'k', sessionId: session, tokens: { total: 1 }, cost: { total: 1 } });
      const expected = ['update-machine', 'new-artifact', 'update-artifact', 'delete-artifact', 'usage'].flatMap((t) => [t, 'success']);
      assert.deepEqual(order, expected);
    }
  });
}
