// Two reference replicas and none of ours: whether the instrument that judges us in the other suites measures right.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Device, closeDevices } from '../../lib/client.mjs';
import { NodeReplica } from '../../lib/peer.mjs';
import { Redis } from '../../lib/redis.mjs';
import { TYPES, add, audit, entries, fence } from '../../lib/stream.mjs';
import { until } from '../../lib/wait.mjs';

const BEFORE_SILENCE_MS = 4_500; // the last heartbeat is 5 s old at most, and silence is noticed after 10 s

let redis;
let replicas;
before(async () => {
  redis = await Redis.start();
  replicas = [await NodeReplica.start(redis), await NodeReplica.start(redis)];
  await until(async () => (await replicas[0].ask('serverCount')) === 2, 'two servers');
});
after(async () => {
  for (const replica of replicas) await replica.kill();
  await redis.remove();
});
afterEach(closeDevices);

/** The reference replica believes every token. */
function account(id) {
  return { id: async () => id, token: `.${Buffer.from(JSON.stringify({ sub: id })).toString('base64url')}.`, server: replicas[0] };
}

test('broadcasts with exceptions, calls, the registry', async () => {
  const owner = account('a');
  const [near, far, left] = [new Device(owner), new Device(owner, { server: replicas[1] }), new Device(owner, { server: replicas[1] })];
  await Promise.all([near, far, left].map((device) => device.ready()));
  await replicas[0].emit({ rooms: ['user:a'], except: [left.id], event: 'update', args: [{ seq: 1, bytes: Buffer.from('x') }] });
  await fence(redis, [near, far, left]);
  assert.deepEqual([near.updates, far.updates, left.updates], [[{ seq: 1, bytes: Buffer.from('x') }], [{ seq: 1, bytes: Buffer.from('x') }], []]);
  await far.register('echo', (params) => params);
  assert.deepEqual(await near.call('echo', [1]), { ok: true, result: [1] });
  far.close();
  await until(async () => (await redis.client.exists('rpc:a:echo')) === 0, 'unregistered');
  assert.equal((await near.call('echo', [1])).errorCode, 'RPC_METHOD_NOT_AVAILABLE');
});

test('the audit finds nothing wrong with the reference, and something with every wrong form', async () => {
  assert.deepEqual(audit((await entries(redis)).filter(({ uid }) => uid !== 'emitter')), []);
  const uid = '0123456789abcdef';
  const wrong = [
    { uid, nsp: '/', type: '3', data: '{"packet":{"type":2,"data":["e"]}}' },
    { uid, nsp: '/', type: '3', data: '{"packet":{"type":2,"data":["e"]},"opts":{"rooms":[1],"except":[],"flags":{}}}' },
    { uid, nsp: '/', type: '11', data: '{"requestId":"0123456789abcdef","clientCount":"1"}' },
    { uid, nsp: '/', type: '12', data: '{"packet":1}' },
    { uid, nsp: '/', type: '2', data: '{}' },
    { uid, type: '2', nsp: '/' },
    { uid: 'me', nsp: '/', type: '2' },
    { uid, nsp: '/', type: '13' },
    { uid, nsp: '/', type: '2' },
  ];
  const all = wrong.map((fields, n) => ({ id: `${n}`, ms: n, fields: Object.entries(fields), ...fields, type: Number(fields.type), data: fields.data ? JSON.parse(fields.data) : null, text: fields.data }));
  const silent = { ...all[8], ms: 9_999, id: 'late' };
  assert.equal(audit([...all, silent]).length, 7 + 2, 'seven forms, the word after the farewell, the silence');
});

test('a wrong entry stops a Node server for good (C-3), and it says so', async () => {
  await add(redis, { uid: 'emitter', nsp: '/', type: String(TYPES.broadcast), data: '{}' });
  const stuck = (lines) => lines.some((line) => /something went wrong while consuming the stream/.test(line));
  await until(async () => stuck(await replicas[0].ask('complaints')), 'a complaint');
});

test('an orderly end is noticed at once', async () => {
  const redisOfItsOwn = await Redis.start();
  const [stays, leaves] = [await NodeReplica.start(redisOfItsOwn), await NodeReplica.start(redisOfItsOwn)];
  await until(async () => (await stays.ask('serverCount')) === 2, 'two servers');
  await leaves.terminate();
  await until(async () => (await stays.ask('serverCount')) === 1, 'one server', BEFORE_SILENCE_MS);
  assert.deepEqual(await stays.ask('complaints'), []);
  await stays.terminate();
  await redisOfItsOwn.remove();
});
