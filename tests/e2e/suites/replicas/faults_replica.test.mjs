// A replica goes in the middle of calls and messages: killed, ended, or so slow that the stream is trimmed before it has
// read it. Callers are told in time, and nobody misses an update in silence.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../../lib/client.mjs';
import { Cluster } from '../../lib/cluster.mjs';
import { metric } from '../../lib/metrics.mjs';
import { STREAM, fence } from '../../lib/stream.mjs';
import { Follower, Traffic, settled } from '../../lib/traffic.mjs';
import { delay, until } from '../../lib/wait.mjs';

const CALLS = 50;
const CALL_LIMIT_MS = 25_000; // below the 30 s of a call; a silent replica is given up after 10 s
const BEFORE_SILENCE_MS = 4_500; // the last heartbeat is 5 s old at most, so silence is noticed 5 s later at the earliest
const STALL_MS = 3_000; // longer than a reader waits before it wonders
const LENGTH_MAX = 10_000; // of the stream, about
const CALLS_PER_TARGET_MAX = 4_096;
const UNAVAILABLE = 'RPC_METHOD_NOT_AVAILABLE';

let cluster;
before(async () => {
  cluster = await Cluster.start(['worker', 'api', 'api', 'api']);
});
after(() => cluster?.remove());
afterEach(closeDevices);

/** Traffic through the first replica, followers on all, and calls of two replicas that hang at a method of the second. */
async function scene() {
  const [first, second, third] = cluster.replicas;
  const account = await Account.login(first);
  const session = await account.session();
  const followers = await Promise.all(cluster.replicas.map((server, n) => Follower.start(account, session, { server, transports: n === 2 ? ['polling'] : ['websocket'] })));
  const holder = await account.device({ server: second }).ready();
  let asked = 0;
  await holder.register('hang', () => new Promise(() => void (asked += 1)));
  await holder.register('echo', (params) => ({ params }));
  const callers = await Promise.all([first, third].map((server) => account.device({ server }).ready()));
  for (const caller of callers) assert.deepEqual(await caller.call('echo', 1), { ok: true, result: { params: 1 } });
  const traffic = new Traffic(await account.device({ session }).ready(), session);
  await traffic.more(10);
  const began = performance.now();
  const calls = Array.from({ length: CALLS }, async (_, n) => ({ ...(await callers[n % 2].call('hang', n)), ms: performance.now() - began }));
  await until(() => asked === CALLS, 'all calls under way');
  return { account, followers, callers, traffic, calls: Promise.all(calls), second, third };
}

/** The method has a new home, and everybody finds it; the replica is back. */
async function recovers({ account, followers, callers, traffic, second, third }) {
  for (const caller of callers) {
    const began = performance.now();
    const answer = await caller.call('echo', 2);
    assert.equal(answer.errorCode, UNAVAILABLE, JSON.stringify(answer));
    assert.ok(performance.now() - began < CALL_LIMIT_MS);
  }
  const holder = await account.device({ server: third }).ready();
  await holder.register('echo', (params) => ({ again: params }));
  for (const caller of callers) assert.deepEqual(await caller.call('echo', 3), { ok: true, result: { again: 3 } });
  await second.resume();
  await until(() => followers[1].device.socket.connected, 'connected again');
  await traffic.more(10);
  await settled(followers, await traffic.stop());
  assert.deepEqual(followers.map(({ wasDisconnected }) => wasDisconnected), [false, true, false]);
  assert.deepEqual(await cluster.faults(), []);
}

test('killed in the middle of calls: callers are told within the limit of the heartbeats', async () => {
  const s = await scene();
  const killed = performance.now();
  await s.second.kill();
  const calls = await s.calls;
  const ms = performance.now() - killed;
  for (const answer of calls) assert.equal(answer.ok, false);
  assert.ok(ms < CALL_LIMIT_MS, `the last caller was told after ${ms} ms`);
  await recovers(s);
});

test('ended in the middle of calls: callers are told at once', async () => {
  const s = await scene();
  const ended = performance.now();
  const [{ code }, calls] = await Promise.all([s.second.terminate(), s.calls]);
  const ms = performance.now() - ended;
  assert.equal(code, 0);
  for (const answer of calls) assert.equal(answer.ok, false);
  assert.ok(ms < BEFORE_SILENCE_MS, `the last caller was told after ${ms} ms`);
  await recovers(s);
});

test('the holder of a method leaves, its replica stays: callers of other replicas are told at once', async () => {
  const [first, second] = cluster.replicas;
  const account = await Account.login(first);
  const [caller, holder] = [await account.device().ready(), await account.device({ server: second }).ready()];
  let asked = 0;
  await holder.register('hang', () => new Promise(() => void (asked += 1)));
  const began = performance.now();
  const call = caller.call('hang', 1);
  await until(() => asked === 1, 'asked');
  holder.close();
  const answer = await call;
  assert.equal(answer.ok, false);
  assert.ok(performance.now() - began < CALL_LIMIT_MS, `after ${performance.now() - began} ms`);
});

test('the holder of a method has too many calls: callers of other replicas are told at once, and its registration stays', async () => {
  const [first, second] = cluster.replicas;
  const account = await Account.login(first);
  const [caller, holder] = [await account.device().ready(), await account.device({ server: second }).ready()];
  const asked = [];
  await holder.register('hang', (n) => new Promise((resolve) => asked.push(() => resolve(n))));
  // From beside it: through the stream so many would take longer than a call may.
  const neighbour = await account.device({ server: second }).ready();
  const calls = Array.from({ length: CALLS_PER_TARGET_MAX }, (_, n) => neighbour.call('hang', n));
  await until(() => asked.length === calls.length, 'all under way');
  const began = performance.now();
  const answer = await caller.call('hang', -1);
  assert.deepEqual(answer, { ok: false, error: 'operation has timed out' });
  assert.ok(performance.now() - began < CALL_LIMIT_MS, `after ${performance.now() - began} ms`);
  for (const release of asked.splice(0)) release();
  (await Promise.all(calls)).forEach((answer, n) => assert.deepEqual(answer, { ok: true, result: n }));
  const again = caller.call('hang', 'again');
  await until(() => asked.length === 1, 'asked again');
  asked[0]();
  assert.deepEqual(await again, { ok: true, result: 'again' });
});

/** What trims the stream while a replica stands still. */
const TRIMS = {
  'by hand': async (others) => {
    await delay(STALL_MS);
    await fence(cluster.redis, others);
    await cluster.redis.client.xtrim(STREAM, 'MINID', [...cluster.redis.added].at(-1)); // what is before the fence
  },
  'by what others append': async (others) => {
    for (let n = 0; n < LENGTH_MAX + 2_000; n += 1_000) {
      const pipeline = cluster.redis.client.pipeline();
      for (let m = 0; m < 1_000; m++) pipeline.xadd(STREAM, 'MAXLEN', '~', LENGTH_MAX, '*', 'uid', 'emitter', 'nsp', '/', 'type', '2');
      await pipeline.exec();
      await fence(cluster.redis, others); // they keep up
    }
  },
};

for (const [name, trim] of Object.entries(TRIMS)) {
  test(`the stream is trimmed past a slow replica ${name}: its clients come again and catch up`, async () => {
    const [first, slow, third] = cluster.replicas;
    const account = await Account.login(first);
    const session = await account.session();
    const followers = await Promise.all([first, slow, slow, third].map((server, n) => Follower.start(account, session, { server, transports: n === 2 ? ['polling'] : ['websocket'] })));
    const traffic = new Traffic(await account.device({ session }).ready(), session);
    await traffic.more(10);
    const gaps = () => Promise.all(cluster.replicas.map((server) => metric(server, 'happier_cluster_gaps_total')));
    const before = await gaps();
    await until(() => followers.every(({ live }) => live.length > 0), 'all of them told of something');
    slow.child.signal('SIGSTOP');
    await traffic.more(5);
    // The others have read what is about to go.
    const stored = traffic.stored.length;
    await until(() => [followers[0], followers[3]].every(({ live }) => live.length >= stored), 'the others told');
    await trim([followers[0].device, followers[3].device]);
    await traffic.more(5);
    slow.child.signal('SIGCONT');
    await until(() => followers[1].wasDisconnected && followers[2].wasDisconnected, 'told to come again');
    await until(() => followers.every(({ device }) => device.socket.connected), 'connected again');
    await traffic.more(10);
    await settled(followers, await traffic.stop());
    assert.deepEqual(followers.map(({ wasDisconnected }) => wasDisconnected), [false, true, true, false]);
    for (const { device } of [followers[1], followers[2]]) assert.match(device.disconnects[0], /^transport (close|error)$/, 'and not told to stay away');
    const after = await gaps();
    assert.deepEqual(after.map((count, n) => count - before[n]), [0, 1, 0], 'the gap is counted where it was');
  });
}
