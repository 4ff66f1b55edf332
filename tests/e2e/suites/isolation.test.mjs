// Who hears of what: a connection hears of what its account may see, for as long as it may, and calls are judged anew.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const GRACE_MS = 60_000;
const WAYS = [['websocket'], ['polling'], ['polling', 'websocket']];

let server;
before(async () => {
  // Four cores: accounts are at home on all of them, and connections over polling are away from home.
  server = await Server.start({ settings: { HAPPIER_CORES: '4', HAPPIER_RPC_GRACE_MS: String(GRACE_MS) } });
});
after(() => server.terminate());
afterEach(closeDevices);

const people = (count) => Promise.all(Array.from({ length: count }, () => Account.login(server)));
const readyAll = (devices) => Promise.all(devices.map((device) => device.ready()));
const fenceAll = (devices) => Promise.all(devices.map((device) => device.fence()));
const kinds = (device) => device.updates.map((update) => update.body.t);
const about = (device, session) => device.updates.filter(({ body }) => body.t === 'new-message' && body.sid === session);

async function registered(device, method) {
  const done = new Promise((resolve) => device.socket.once('rpc-registered', resolve));
  device.socket.emit('rpc-register', { method });
  return done;
}

/** Something of every kind happens to an account. */
async function liveOn(account, session, machine) {
  const actor = await account.device().ready();
  await actor.send(session, 'secret');
  await actor.ask('update-metadata', { sid: session, metadata: 'secret', expectedVersion: 0 });
  await actor.ask('machine-update-state', { machineId: machine, daemonState: 'secret', expectedVersion: 0 });
  await actor.ask('artifact-create', { id: randomUUID(), header: '', body: '', dataEncryptionKey: '' });
  await account.ask('POST', '/v1/account/settings', { settings: 'secret', expectedVersion: 0 });
  actor.socket.emit('session-alive', { sid: session, time: Date.now() });
  await actor.ask('usage-report', { key: 'k', sessionId: session, tokens: { total: 1 }, cost: { total: 1 } });
  await actor.fence();
}

test('no name that a client makes up for its session or machine opens the rooms of somebody else (R-3)', async () => {
  const [victim, attacker] = await people(2);
  const session = await victim.session();
  const machine = await victim.machine();
  const id = await victim.id();
  const names = [session, `${session}:${id}`, `session:${session}:${id}`, `user:${id}`, id, `${machine}:${id}`, machine];
  const curious = names.flatMap((name) => [{ session: name }, { machine: name }]).map((scope, n) =>
    attacker.device({ ...scope, transports: WAYS[n % 3] }),
  );
  const own = [victim.device({ session }), victim.device({ machine }), victim.device()];
  await readyAll([...curious, ...own]);
  await liveOn(victim, session, machine);
  await fenceAll([...own, ...curious]);
  assert.ok(own.every((device) => device.updates.length > 0));
  for (const device of curious) assert.deepEqual([device.updates, device.ephemerals], [[], []]);
});

test('a connection for one session or machine hears of that one alone', async () => {
  const [account] = await people(1);
  const [session, other] = [await account.session(), await account.session()];
  const [machine, away] = [await account.machine(), await account.machine()];
  const devices = WAYS.flatMap((transports) => [
    account.device({ session, transports }),
    account.device({ session: other, transports }),
    account.device({ machine, transports }),
    account.device({ machine: away, transports }),
  ]);
  await readyAll(devices);
  await liveOn(account, session, machine);
  await fenceAll(devices);
  for (let n = 0; n < devices.length; n += 4) {
    assert.deepEqual(devices.slice(n, n + 4).map(kinds), [['new-message', 'update-session'], [], ['update-machine'], []]);
    assert.ok(devices.slice(n, n + 4).every((device) => device.ephemerals.length === 0));
  }
});

for (const ending of ['revoked', 'deleted']) {
  test(`when a ${ending === 'revoked' ? 'share is revoked' : 'session is deleted'} in the middle of traffic, its guests hear nothing more at once`, async () => {
    const [owner, guest, friend] = await people(3);
    const session = await owner.session();
    const share = await owner.share(session, guest, 'edit');
    await owner.share(session, friend, 'view');
    const last = ending === 'revoked' ? 'session-share-revoked' : 'delete-session';
    const guests = WAYS.flatMap((transports) => [guest.device({ transports }), guest.device({ transports, session })]);
    const friends = [friend.device(), friend.device({ session, transports: ['polling'] })];
    const writers = Array.from({ length: 6 }, () => owner.device({ session }));
    await readyAll([...guests, ...friends, ...writers]);

    let over = false;
    let sent = 0;
    const traffic = writers.map(async (writer) => {
      while (!over) {
        const ack = await writer.send(session, `text ${sent++}`);
        if (!ack.ok) return;
      }
    });
    await until(() => guests.every((device) => about(device, session).length > 20), 'in the middle of traffic');
    await owner.ask('DELETE', ending === 'revoked' ? share : `/v1/sessions/${session}`);
    await fenceAll(guests);
    const heard = guests.map((device) => about(device, session).length);
    const sentThen = sent;
    if (ending === 'revoked') await until(() => sent > sentThen + 50, 'going on');
    over = true;
    await Promise.all(traffic);
    await fenceAll([...guests, ...friends]);
    guests.forEach((device, n) => {
      assert.equal(about(device, session).length, heard[n], 'nothing after the answer to whoever has ended it');
      // Those who are told of the end hear nothing of the session behind it.
      const end = kinds(device).indexOf(last);
      if (end >= 0) assert.ok(!kinds(device).slice(end).includes('new-message'));
      const cursors = device.updates.map((update) => update.seq);
      assert.ok(cursors.every((seq, i) => i === 0 || seq > cursors[i - 1]), `cursors rise: ${cursors}`);
    });
    assert.ok(guests.filter((device) => kinds(device).includes(last)).length >= 3, 'user-scoped ones are told');
    if (ending === 'revoked') {
      await until(() => friends.every((device) => about(device, session).length === sent), 'told of all that was sent');
    }
  });
}

test('who has lost a session cannot write to it any more, whoever is connected already', async () => {
  const [owner, guest] = await people(2);
  const session = await owner.session();
  const share = await owner.share(session, guest, 'edit');
  const device = await guest.device({ session }).ready();
  assert.equal((await device.send(session, 'one')).ok, true);
  device.socket.emit('session-alive', { sid: session, time: Date.now() });
  await owner.ask('PATCH', share, { accessLevel: 'view' });
  assert.deepEqual(await device.send(session, 'two'), { ok: false, error: 'forbidden' });
  const edit = { sid: session, metadata: 'x', agentState: 'x', expectedVersion: 0 };
  assert.deepEqual(await device.ask('update-metadata', edit), { result: 'forbidden' });
  assert.deepEqual(await device.ask('update-state', edit), { result: 'forbidden' });
  // It may still look on.
  const writer = await owner.device().ready();
  await writer.send(session, 'three');
  await until(() => about(device, session).length === 1, 'told of what the owner writes');
  await owner.ask('DELETE', share);
  assert.deepEqual(await device.send(session, 'four'), { ok: false, error: 'forbidden' });
  assert.deepEqual(await device.ask('update-state', edit), { result: 'forbidden' });
  assert.equal((await guest.request('GET', `/v1/sessions/${session}/messages`)).status, 404);
  await owner.share(session, guest, 'edit');
  await writer.send(session, 'five');
  await until(() => about(device, session).length === 2, 'told again after a new share');
  assert.equal((await device.send(session, 'six')).ok, true);
});

test('a delegated call is judged when it is made, and again after it has waited', async () => {
  const [owner, guest] = await people(2);
  const session = await owner.session();
  const method = `${session}:permission`;
  const approving = { canApprovePermissions: true };
  const share = await owner.share(session, guest, 'edit', approving);
  const holder = await owner.device({ session }).ready();
  const asked = [];
  holder.socket.on('rpc-request', ({ params }, ack) => {
    asked.push(params);
    ack({ approved: params });
  });
  const callers = await readyAll(WAYS.map((transports) => guest.device({ transports })));
  const call = (n, params) => callers[n].ask('rpc-call', { method, params }, 2 * GRACE_MS);
  const forbidden = { ok: false, error: 'Forbidden' };
  const pending = async (n, params) => {
    const answer = call(n, params);
    await callers[n].fence();
    return { answer };
  };

  // The method is not there yet: calls wait for it, one with its right and two without it by then.
  const [first, second] = [await pending(0, 'waits'), await pending(1, 'waits')];
  await registered(holder, method);
  assert.deepEqual(await first.answer, { ok: true, result: { approved: 'waits' } });
  assert.deepEqual(await second.answer, { ok: true, result: { approved: 'waits' } });

  for (const change of [{ canApprovePermissions: false }, { accessLevel: 'view', canApprovePermissions: false }, null]) {
    await owner.ask('PATCH', share, { accessLevel: 'edit', ...approving });
    const gone = new Promise((resolve) => holder.socket.once('rpc-unregistered', resolve));
    holder.socket.emit('rpc-unregister', { method });
    await gone;
    const waiting = [await pending(0, 'too late'), await pending(1, 'too late'), await pending(2, 'too late')];
    await (change ? owner.ask('PATCH', share, change) : owner.ask('DELETE', share));
    assert.deepEqual(await call(0, 'refused'), forbidden);
    await registered(holder, method);
    for (const { answer } of waiting) assert.deepEqual(await answer, forbidden);
  }
  await holder.fence();
  assert.deepEqual(asked, ['waits', 'waits'], 'nothing reached the owner without a right to it');
});
