// A reference replica and ours in one cluster, as during a migration: what one of them says reaches the clients of the
// other, calls go both ways, and neither is disturbed by what it does not understand.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, test } from 'node:test';
import { Account, closeDevices } from '../../lib/client.mjs';
import { Cluster } from '../../lib/cluster.mjs';
import { TYPES, add, emit, entries, fence } from '../../lib/stream.mjs';
import { delay, until } from '../../lib/wait.mjs';

const UNAVAILABLE = { ok: false, error: 'RPC method not available', errorCode: 'RPC_METHOD_NOT_AVAILABLE' };
const PROMPT_MS = 9_000; // below the 10 s after which a silent server is given up, and the 30 s of a call
const REGISTRATION_S = 120;
const HEARTBEAT_MS = 5_000;
const GIVEN_UP_MS = 10_000;
const BEFORE_SILENCE_MS = 4_500; // the last heartbeat is 5 s old at most

let cluster;
let ours;
let node;
before(async () => {
  cluster = await Cluster.start(['worker', 'api'], { node: 1 });
  [ours] = cluster.replicas;
  [node] = cluster.nodes;
  await until(async () => (await node.ask('serverCount')) === 3, 'three servers in the eyes of the Node replica');
});
after(() => cluster?.remove());
afterEach(closeDevices);

/** Every event of a device, in order, as `[name, argument…]`. */
function listen(device) {
  const heard = [];
  device.socket.onAny((...event) => heard.push(event));
  return heard;
}

const readied = (...devices) => Promise.all(devices.map((device) => device.ready()));
const bodies = (device) => device.updates.map(({ body }) => body);
const registration = (account, method) => cluster.redis.client.hgetall(`rpc:${account.known}:${method}`);

async function login() {
  const account = await Account.login(ours);
  await account.id();
  return account;
}

async function elapsed(action) {
  const began = performance.now();
  const result = await action();
  return [result, performance.now() - began];
}

describe('what ours publishes', () => {
  test('a message over HTTP reaches the clients of both, once', async () => {
    const [account, stranger] = [await login(), await login()];
    const [session, another] = [await account.session(), await account.session()];
    const told = await readied(account.device(), account.device({ server: node }), account.device({ session, server: node }), account.device({ session, transports: ['polling'] }));
    const untold = await readied(account.device({ session: another, server: node }), account.device({ machine: 'm', server: node }), stranger.device({ session, server: node }));
    await account.ask('POST', `/v2/sessions/${session}/messages`, { ciphertext: 'grüße, 世界', localId: 'l' });
    await Promise.all(told.map((device) => until(() => device.updates.length > 0, 'told')));
    await fence(cluster.redis, [...told, ...untold]);
    const { cursor } = await account.ask('GET', '/v2/cursor');
    for (const device of told) {
      assert.deepEqual(device.updates, told[0].updates, 'the same container for all of the account');
      assert.deepEqual(device.texts, ['grüße, 世界']);
      assert.equal(device.updates[0].seq, cursor);
    }
    for (const device of untold) assert.deepEqual(device.updates, []);
  });

  test('a message over a socket leaves out its sender and nobody else', async () => {
    const account = await login();
    const session = await account.session();
    const sender = await account.device({ session }).ready();
    const others = await readied(account.device({ session }), account.device(), account.device({ session, server: node }), account.device({ server: node }));
    const texts = Array.from({ length: 50 }, (_, n) => `text ${n}`);
    const acks = await Promise.all(texts.map((text) => sender.send(session, text)));
    assert.ok(acks.every(({ ok }) => ok));
    await Promise.all(others.map((device) => until(() => device.texts.length >= texts.length, 'told of all')));
    await fence(cluster.redis, [sender, ...others]);
    assert.deepEqual(sender.updates, []);
    for (const device of others) assert.deepEqual(device.texts, texts);
  });

  test('every participant of a session gets a container with a cursor of its own', async () => {
    const [owner, guest] = [await login(), await login()];
    const session = await owner.session();
    await owner.share(session, guest, 'edit');
    const [mine, theirs] = await readied(owner.device({ session, server: node }), guest.device({ session, server: node }));
    const writer = await guest.device({ session }).ready();
    assert.equal((await writer.send(session, 'from the guest')).ok, true);
    for (const [account, device] of [[owner, mine], [guest, theirs]]) {
      await until(() => device.texts.length > 0, 'told');
      assert.deepEqual(device.texts, ['from the guest']);
      assert.equal(device.updates[0].seq, (await account.ask('GET', '/v2/cursor')).cursor);
    }
    assert.notEqual(mine.updates[0].id, theirs.updates[0].id);
  });

  test('signs of life reach the user-scoped clients of the Node replica', async () => {
    const account = await login();
    const session = await account.session();
    const machine = await account.machine();
    const [app, agent] = await readied(account.device({ server: node }), account.device({ session, server: node }));
    const daemon = await account.device({ machine }).ready();
    await until(() => app.ephemerals.length === 1, 'told of the machine');
    const time = Date.now() - 1_000;
    daemon.socket.emit('session-alive', { sid: session, time, thinking: true });
    await until(() => app.ephemerals.length === 2, 'told of the session');
    daemon.close();
    await until(() => app.ephemerals.length === 3, 'told that the machine left');
    await fence(cluster.redis, [app, agent]);
    assert.deepEqual(agent.ephemerals, []);
    const [came, alive, left] = app.ephemerals;
    assert.deepEqual([came.type, came.id, came.active], ['machine-activity', machine, true]);
    assert.deepEqual(alive, { type: 'activity', id: session, active: true, activeAt: time, thinking: true });
    assert.deepEqual([left.type, left.id, left.active], ['machine-activity', machine, false]);
  });
});

describe('what the Node replica publishes', () => {
  test('rooms and exceptions', async () => {
    const [account, other] = [await login(), await login()];
    const [session, machine] = [await account.session(), randomUUID()];
    const devices = {
      app: account.device(),
      web: account.device({ transports: ['polling'] }),
      agent: account.device({ session }),
      daemon: account.device({ machine, transports: ['polling', 'websocket'] }),
      stranger: other.device({ session }),
    };
    await readied(...Object.values(devices));
    const heard = Object.fromEntries(Object.entries(devices).map(([name, device]) => [name, listen(device)]));
    const [a, b] = [account.known, other.known];
    const cases = [
      { rooms: [`user:${a}`], to: 'app web agent daemon' },
      { rooms: [`user-scoped:${a}`], to: 'app web' },
      { rooms: [`session:${session}:${a}`, `user-scoped:${a}`], except: [devices.app.id], to: 'web agent' },
      { rooms: [`machine:${machine}:${a}`, `user-scoped:${a}`], to: 'app web daemon' },
      { rooms: [devices.agent.id], to: 'agent' },
      { rooms: [devices.web.id, devices.stranger.id], to: 'web stranger' },
      { rooms: [`user:${a}`], except: [`user-scoped:${a}`], to: 'agent daemon' },
      { rooms: [`user:${a}`, `user-scoped:${a}`, devices.app.id], to: 'app web agent daemon' },
      { rooms: [`user:${a}`, `user:${b}`], except: [devices.daemon.id, devices.web.id], to: 'app agent stranger' },
      { rooms: [`user:${a}`], except: Object.values(devices).map(({ id }) => id), to: '' },
      { rooms: [`session:${session}:${b}`], to: 'stranger' },
      { rooms: ['nobody', `user-scoped:${a}x`, ''], to: '' },
      { rooms: [`user:${a}`], volatile: true, to: 'app web agent daemon' },
    ];
    for (const [n, { to, ...target }] of cases.entries()) {
      await node.emit({ ...target, event: 'ephemeral', args: [{ type: `case ${n}` }] });
    }
    await fence(cluster.redis, Object.values(devices));
    for (const [name, events] of Object.entries(heard)) {
      const expected = cases.flatMap(({ to }, n) => (to.split(' ').includes(name) ? [`case ${n}`] : []));
      const got = events.map(([, { type }]) => type).filter((type) => type !== 'fence');
      assert.deepEqual(got, expected, name);
    }
  });

  test('any name and any values, as JSON and as MessagePack', async () => {
    const account = await login();
    const devices = await readied(account.device(), account.device({ transports: ['polling'] }));
    const heard = devices.map(listen);
    const plain = [
      ['update', { text: 'ÄÖÜ 世界 🎉 "quoted" \\ \u0000 \u2028', list: [], object: {}, none: null, yes: true }],
      ['ephemeral', 0, -1, 1.5, 1e21, 2 ** 53 - 1, -(2 ** 31), 4294967296, 0.1],
      ['no arguments'],
      ['many', ...Array.from({ length: 100 }, (_, n) => n)],
      ['long', 'x'.repeat(300_000)],
      ['nested', JSON.parse('['.repeat(50) + ']'.repeat(50))],
    ];
    // No client of ours uses bytes. They make their publisher write MessagePack, and arrive as JSON shows them in JavaScript.
    const binary = [
      ['bytes', Buffer.from([0, 255, 1])],
      ['bytes and more', { blob: Buffer.alloc(70_000, 7), text: 'Grüße', list: [1, -200, 70_000, 5e9, -5e9, 1.25, null, false] }, Buffer.alloc(0)],
    ];
    for (const [event, ...args] of [...plain, ...binary]) await node.emit({ rooms: [`user:${account.known}`], event, args });
    await fence(cluster.redis, devices);
    const expected = [...plain, ...JSON.parse(JSON.stringify(binary))];
    for (const events of heard) {
      assert.deepEqual(events.map(([event]) => event), [...expected.map(([event]) => event), 'ephemeral']);
      expected.forEach((event, n) => assert.deepEqual(events[n], event));
    }
  });

  test('events of one server arrive once and in their order', async () => {
    const account = await login();
    const ways = [['websocket'], ['polling'], ['polling', 'websocket']];
    const devices = await readied(...ways.map((transports) => account.device({ transports })));
    for (let n = 0; n < 400; n++) void node.emit({ rooms: [`user-scoped:${account.known}`], event: 'ephemeral', args: [{ n }] });
    for (const device of devices) await until(() => device.ephemerals.length >= 400, 'told of all');
    await fence(cluster.redis, devices);
    const expected = Array.from({ length: 400 }, (_, n) => n);
    for (const device of devices) assert.deepEqual(device.ephemerals.map(({ n }) => n), expected);
  });
});

describe('calls', () => {
  const VALUES = ['cGFy', '', 0, -1.5, 2 ** 53 - 1, true, false, null, [], {}, { deep: [{ er: 'ü' }] }, 'x'.repeat(100_000)];

  for (const [name, way] of [['to the Node replica', { from: () => ours, to: () => node }], ['from the Node replica', { from: () => node, to: () => ours }]]) {
    test(`${name}: parameters and results of every kind, promptly`, async () => {
      const account = await login();
      const caller = await account.device({ server: way.from() }).ready();
      for (const transports of [['websocket'], ['polling']]) {
        const holder = await account.device({ server: way.to(), transports }).ready();
        await holder.register('echo', (params) => ({ params }));
        await holder.register('silent', () => undefined);
        const [, ms] = await elapsed(async () => {
          for (const value of VALUES) assert.deepEqual(await caller.call('echo', value), { ok: true, result: { params: value } });
        });
        // If each had to wait for somebody's heartbeat to be read, they would take longer.
        assert.ok(ms < (VALUES.length * HEARTBEAT_MS) / 4, `took ${ms} ms`);
        assert.deepEqual(await caller.call('echo'), { ok: true, result: {} });
        assert.deepEqual(await caller.call('silent'), { ok: true });
        holder.close();
      }
    });

    test(`${name}: many at once, each with its own answer`, async () => {
      const account = await login();
      const [caller, holder] = await readied(account.device({ server: way.from() }), account.device({ server: way.to() }));
      await holder.register('double', async (n) => {
        await delay((n * 7) % 40);
        return n * 2;
      });
      const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => caller.call('double', n)));
      answers.forEach((answer, n) => assert.deepEqual(answer, { ok: true, result: n * 2 }));
    });

    test(`${name}: nobody, somebody who has left, and somebody who never was`, async () => {
      const account = await login();
      const [caller, holder] = await readied(account.device({ server: way.from() }), account.device({ server: way.to() }));
      assert.deepEqual(await caller.call('unknown'), UNAVAILABLE);
      await holder.register('gone', () => 1);
      assert.deepEqual(await caller.call('gone'), { ok: true, result: 1 });
      holder.close();
      await until(async () => Object.keys(await registration(account, 'gone')).length === 0, 'unregistered');
      assert.deepEqual(await caller.call('gone'), UNAVAILABLE);
      // As a replica leaves it that was killed: everybody reports that the socket is not there, then the entry goes.
      await cluster.redis.client.hset(`rpc:${account.known}:dead`, { instanceId: 'x', socketId: 'AAAAAAAAAAAAAAAAAAAA', updatedAt: '1' });
      const [answer, ms] = await elapsed(() => caller.call('dead'));
      assert.deepEqual(answer, UNAVAILABLE);
      assert.ok(ms < PROMPT_MS, `took ${ms} ms`);
      await until(async () => Object.keys(await registration(account, 'dead')).length === 0, 'unregistered');
    });

    test(`${name}: the latest registration counts, and only its holder takes it back`, async () => {
      const account = await login();
      const caller = await account.device({ server: way.from() }).ready();
      const [first, second] = await readied(account.device({ server: way.from() }), account.device({ server: way.to() }));
      await first.register('m', () => 'first');
      assert.deepEqual(await caller.call('m'), { ok: true, result: 'first' });
      await second.register('m', () => 'second');
      assert.deepEqual(await caller.call('m'), { ok: true, result: 'second' });
      const unregistered = new Promise((resolve) => first.socket.once('rpc-unregistered', resolve));
      first.socket.emit('rpc-unregister', { method: 'm' });
      await unregistered;
      assert.deepEqual(await caller.call('m'), { ok: true, result: 'second' });
      first.close();
      await caller.fence();
      assert.equal((await registration(account, 'm')).socketId, second.id);
      assert.deepEqual(await second.call('m'), { ok: false, error: 'Cannot call RPC on the same socket' });
    });
  }

  test('the registry names instance and socket, and expires', async () => {
    const account = await login();
    const holder = await account.device().ready();
    const began = Date.now();
    await holder.register('s:1:permission', () => 1);
    const { instanceId, socketId, updatedAt, ...more } = await registration(account, 's:1:permission');
    assert.deepEqual(more, {});
    assert.equal(socketId, holder.id);
    assert.ok(instanceId.length > 0);
    assert.ok(Number(updatedAt) >= began - 1_000 && Number(updatedAt) <= Date.now() + 1_000, updatedAt);
    const seconds = await cluster.redis.client.ttl(`rpc:${account.known}:s:1:permission`);
    assert.ok(seconds > REGISTRATION_S - 10 && seconds <= REGISTRATION_S, `expires in ${seconds} s`);
  });

  test('bytes in the answer of a Node client', async () => {
    const account = await login();
    const [caller, holder] = await readied(account.device(), account.device({ server: node }));
    await holder.register('bytes', () => ({ blob: Buffer.from([1, 2, 255]), n: 7 }));
    assert.deepEqual(await caller.call('bytes'), { ok: true, result: { blob: { type: 'Buffer', data: [1, 2, 255] }, n: 7 } });
  });

  test('an acknowledged broadcast to many: each of our processes counts once, each client answers once', async () => {
    const account = await login();
    const devices = await readied(account.device(), account.device({ transports: ['polling'] }), account.device({ session: 's' }), account.device({ server: node }));
    for (const [n, device] of devices.entries()) device.socket.on('question', (ack) => ack(n));
    const { answers, error } = await node.ask('emitWithAck', { rooms: [`user:${account.known}`], event: 'question', timeoutMs: PROMPT_MS });
    assert.equal(error, undefined);
    assert.deepEqual(answers.sort(), [0, 1, 2, 3]);
    assert.deepEqual(await node.ask('emitWithAck', { rooms: ['nobody'], event: 'question', timeoutMs: PROMPT_MS }), { answers: [] });
    const request = (await entries(cluster.redis)).findLast(({ uid, type, data }) => uid === node.uid && type === TYPES.broadcast && data?.requestId);
    const counts = (await entries(cluster.redis)).filter(({ type, data }) => type === TYPES.clientCount && data.requestId === request.data.requestId);
    assert.deepEqual(counts.map(({ data }) => data.clientCount), [0, 0], 'the api and the worker');
    assert.equal(new Set(counts.map(({ uid }) => uid)).size, 2);
  });
});

describe('what is not for us', () => {
  test('requests that the application never makes are answered or left alone', async () => {
    const account = await login();
    const [mine, theirs] = await readied(account.device(), account.device({ server: node }));
    const [sockets, ms] = await elapsed(() => node.ask('fetchSockets'));
    assert.ok(sockets.includes(theirs.id));
    assert.ok(ms < PROMPT_MS, `took ${ms} ms`);
    await node.ask('serverSideEmit', { event: 'hello', args: [1] });
    await node.ask('socketsJoin', { rooms: [`user:${account.known}`], join: ['elsewhere'] });
    await node.ask('disconnectSockets', { rooms: [mine.id], close: true });
    await fence(cluster.redis, [mine, theirs]);
    assert.deepEqual(mine.disconnects, []);
    assert.deepEqual(await mine.fence(), {});
  });

  test('entries of others and of other times disturb nobody', async () => {
    const account = await login();
    const devices = await readied(account.device(), account.device({ server: node }));
    const broadcast = (event) => JSON.stringify({ packet: { type: 2, data: [event, 1] }, opts: { rooms: [`user:${account.known}`], except: [], flags: {} } });
    const heard = devices.map(listen);
    const strange = [
      { nsp: '/other', uid: 'emitter', type: '3', data: broadcast('other namespace') },
      { uid: 'emitter', type: '3', data: broadcast('no namespace') },
      { nsp: '/', type: '99', uid: 'emitter', data: '{}' },
      { nsp: '/', uid: 'emitter', data: broadcast('no type') },
      { nsp: '/', type: 'three', uid: 'emitter', data: '{}' },
      { nsp: '/', type: '3', uid: 'emitter', data: '{"packet":' },
      { nsp: '/', type: '3', uid: 'emitter', data: '%%% not base64 %%%' },
      { nsp: '/', type: '3', uid: 'emitter', data: Buffer.from([0xc1]).toString('base64') },
      { something: 'else' },
      { nsp: '/', type: '11', uid: 'emitter', data: '{"requestId":"0123456789abcdef","clientCount":3}' },
      { nsp: '/', type: '12', uid: 'emitter', data: '{"requestId":"0123456789abcdef","packet":1}' },
    ];
    for (const fields of strange) await add(cluster.redis, fields);
    await emit(cluster.redis, { rooms: [`user:${account.known}`] }, 'good', 1);
    await fence(cluster.redis, devices);
    for (const events of heard) assert.deepEqual(events.filter(([event]) => event !== 'ephemeral'), [['good', 1]]);
    assert.equal(await node.ask('serverCount'), 3, 'none of them is a server');
  });
});

describe('membership', () => {
  test('a process that ends orderly leaves at once, one that is killed is given up after ten seconds', async () => {
    const before = await node.ask('nodes');
    const [leaving, killed] = [await cluster.add('api'), await cluster.add('all')];
    await until(async () => (await node.ask('serverCount')) === 5, 'five servers');
    assert.equal((await leaving.terminate()).code, 0);
    await until(async () => (await node.ask('serverCount')) === 4, 'four servers', BEFORE_SILENCE_MS);
    const [uid] = (await node.ask('nodes')).filter((other) => !before.includes(other));
    await killed.kill();
    await until(async () => (await node.ask('serverCount')) === 3, 'three servers');
    const silentMs = Date.now() - (await entries(cluster.redis)).findLast((entry) => entry.uid === uid).ms;
    assert.ok(silentMs >= GIVEN_UP_MS, `given up after ${silentMs} ms of silence`);
  });

  test('nobody who lives is ever given up, by neither side', async () => {
    const nodes = await node.ask('nodes');
    await delay(2 * HEARTBEAT_MS + 1_000); // two heartbeats of everybody, whatever they did before
    assert.deepEqual(await node.ask('nodes'), nodes);
    const account = await login();
    const [caller, holder] = await readied(account.device(), account.device({ server: node }));
    await holder.register('m', () => 1);
    assert.deepEqual(await caller.call('m'), { ok: true, result: 1 });
    const stranger = (await entries(cluster.redis)).filter(({ uid }) => uid === node.uid);
    assert.ok(stranger.some(({ type }) => type === TYPES.heartbeat));
  });
});

test('the Node replica has nothing to complain about, and everything of ours has its form', async () => {
  const expected = /seems down|invalid format|ignore message from another namespace|unknown message type/; // provoked above
  assert.deepEqual((await node.ask('complaints')).filter((line) => !expected.test(line)), []);
  assert.equal(node.child.output, '');
  assert.deepEqual(await cluster.faults(), []);
  assert.equal((await cluster.worker.terminate()).code, 0);
  assert.equal((await ours.terminate()).code, 0);
  assert.equal(await node.ask('serverCount'), 1);
  assert.deepEqual(await cluster.faults(), []);
});
