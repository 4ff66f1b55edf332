// Signs of life reach the rows, also when the server ends; calls find their way between cores, in numbers, and wait for
// a method that is about to be registered.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { randomUUID } from 'node:crypto';
import { Account, closeDevices } from '../lib/client.mjs';
import { Server } from '../lib/server.mjs';
import { PATIENCE_MS, until } from '../lib/wait.mjs';

const CALLS = 500;
const GRACE_MS = 1_000;
const LATE_MS = 25_000; // below the 30 s of a call

afterEach(closeDevices);

async function withServer(settings, action) {
  const server = await Server.start({ settings: { HAPPIER_CORES: '4', ...settings } });
  try {
    await action(server);
  } finally {
    if (server.alive) await server.kill();
  }
}

/** Registers a method and waits until that is done. */
async function register(device, method) {
  const done = new Promise((resolve) => device.socket.once('rpc-registered', resolve));
  device.socket.emit('rpc-register', { method });
  assert.deepEqual(await done, { method });
}

for (const transports of [['websocket'], ['polling']]) {
  test(`what was reported before the end of the server is stored (${transports})`, () =>
    withServer({}, async (server) => {
      const account = await Account.login(server);
      const machine = randomUUID();
      await account.ask('POST', '/v1/machines', { id: machine, metadata: 'metadata' });
      const read = async () => (await account.ask('GET', `/v1/machines/${machine}`)).machine;
      assert.equal((await read()).active, false);
      const device = await account.device({ transports }).ready();
      const shown = new Promise((resolve) => device.socket.once('ephemeral', resolve));
      const time = Date.now() - 1_000;
      device.socket.emit('machine-alive', { machineId: machine, time });
      assert.deepEqual(await shown, { type: 'machine-activity', id: machine, active: true, activeAt: time });
      assert.equal((await server.terminate()).code, 0);
      await server.resume();
      const after = await read();
      assert.deepEqual([after.active, after.activeAt], [true, time]);
    }));

  test(`many calls at once, each with its own answer (${transports})`, () =>
    withServer({}, async (server) => {
      const account = await Account.login(server);
      const holder = await account.device({ transports }).ready();
      const callers = await Promise.all([account.device().ready(), account.device({ transports: ['polling'] }).ready()]);
      holder.socket.on('rpc-request', ({ params }, ack) => setTimeout(() => ack({ twice: params * 2 }), (params * 7) % 50));
      await register(holder, 'double');
      const answers = await Promise.all(
        Array.from({ length: CALLS }, (_, n) => callers[n % 2].ask('rpc-call', { method: 'double', params: n })),
      );
      answers.forEach((answer, n) => assert.deepEqual(answer, { ok: true, result: { twice: n * 2 } }));
    }));
}

test('callers are told at once when the target goes', () =>
  withServer({}, async (server) => {
    const account = await Account.login(server);
    const caller = await account.device().ready();
    for (const transports of [['websocket'], ['polling']]) {
      const holder = await account.device({ transports }).ready();
      const asked = new Promise((resolve) => holder.socket.once('rpc-request', resolve));
      await register(holder, 'silent');
      const answer = caller.ask('rpc-call', { method: 'silent' });
      await asked;
      holder.close();
      assert.deepEqual(await answer, { ok: false, error: 'operation has timed out' });
      const next = await caller.ask('rpc-call', { method: 'silent' });
      assert.equal(next.errorCode, 'RPC_METHOD_NOT_AVAILABLE');
    }
  }));

test('a call waits for a method that is about to be registered', () =>
  withServer({ HAPPIER_RPC_GRACE_MS: String(PATIENCE_MS) }, async (server) => {
    const account = await Account.login(server);
    const [caller, holder] = await Promise.all([account.device().ready(), account.device({ transports: ['polling'] }).ready()]);
    holder.socket.on('rpc-request', (request, ack) => ack(request));
    const early = caller.ask('rpc-call', { method: 'late', params: null });
    await caller.fence();
    await register(holder, 'late');
    assert.deepEqual(await early, { ok: true, result: { method: 'late', params: null } });
  }));

test('a call does not wait for ever', () =>
  withServer({ HAPPIER_RPC_GRACE_MS: String(GRACE_MS) }, async (server) => {
    const caller = await (await Account.login(server)).device().ready();
    const began = performance.now();
    const never = await caller.ask('rpc-call', { method: 'never' });
    assert.equal(never.errorCode, 'RPC_METHOD_NOT_AVAILABLE');
    const ms = performance.now() - began;
    assert.ok(ms >= GRACE_MS && ms < GRACE_MS + LATE_MS, `${ms} ms`);
  }));

test('limits: methods of an account, and the length of their names', () =>
  withServer({}, async (server) => {
    const account = await Account.login(server);
    const device = await account.device().ready();
    const errors = [];
    let registered = 0;
    device.socket.on('rpc-error', (error) => errors.push(error));
    device.socket.on('rpc-registered', () => registered++);
    device.socket.emit('rpc-register', { method: 'x'.repeat(1_025) });
    await until(() => errors.length === 1, 'refused');
    for (let n = 0; n < 16_385; n++) device.socket.emit('rpc-register', { method: `${n}` });
    await until(() => registered + errors.length === 16_386, 'all answered');
    assert.deepEqual(errors, [
      { type: 'register', error: 'Invalid method name' },
      { type: 'register', error: 'Too many methods' },
    ]);
    await device.fence();
  }));
