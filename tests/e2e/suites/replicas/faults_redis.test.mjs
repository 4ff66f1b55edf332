// Redis goes away under traffic, in every way: local delivery goes on, nothing wrong is said when it is back, nobody
// misses an update in silence, and calls find their way again.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../../lib/client.mjs';
import { Cluster } from '../../lib/cluster.mjs';
import { metric } from '../../lib/metrics.mjs';
import { Follower, Traffic, settled } from '../../lib/traffic.mjs';
import { delay, until } from '../../lib/wait.mjs';

const AWAY_MS = 2_000;
const PAUSE_MS = 10_000;
const CALL_LIMIT_MS = 25_000; // below the 30 s of a call

let cluster;
let near;
let far;
before(async () => {
  cluster = await Cluster.start(['worker', 'api', 'api'], { node: 1 });
  [near, far] = cluster.replicas;
});
after(() => cluster?.remove());
afterEach(closeDevices);

/** An account with followers on both replicas, a method on the far one, and traffic through the near one. */
async function scene() {
  const account = await Account.login(near);
  const session = await account.session();
  const locals = await Promise.all([Follower.start(account, session), Follower.start(account, session, { transports: ['polling'] })]);
  const remotes = await Promise.all([Follower.start(account, session, { server: far }), Follower.start(account, session, { session, server: far, transports: ['polling', 'websocket'] })]);
  const holder = await account.device({ server: far, reconnection: true }).ready();
  await holder.register('echo', (params) => ({ params }));
  const caller = await account.device({ reconnection: true }).ready();
  assert.deepEqual(await caller.call('echo', 1), { ok: true, result: { params: 1 } });
  const traffic = new Traffic(await account.device({ session, reconnection: true }).ready(), session);
  await traffic.more(20);
  return { account, locals, remotes, caller, holder, traffic };
}

/** Whether a call goes through. The caller may be about to be disconnected: who missed something has to come again. */
async function isAnswered(caller) {
  const answer = await caller.call('echo', 2).catch(() => null);
  return answer?.ok;
}

/** While Redis is away: what is written is stored, and whoever is connected to the same replica is told. */
async function localDeliveryGoesOn({ locals, traffic }) {
  const mark = traffic.stored.length;
  await traffic.more(20);
  const stored = traffic.stored.slice(0, mark + 20);
  await until(() => locals.every((follower) => follower.live.length >= stored.length), 'told by the replica itself');
  for (const server of cluster.replicas) assert.equal((await fetch(`${server.url}/health`)).status, 200);
}

async function allIsWellAgain({ account, locals, remotes, caller, traffic }) {
  await until(() => isAnswered(caller), 'called again');
  await traffic.more(20);
  await settled([...locals, ...remotes], await traffic.stop(), { twice: true });
  const node = await account.device({ server: cluster.nodes[0] }).ready();
  await account.session();
  await until(() => node.updates.length > 0, 'told through the Node replica');
  for (const server of cluster.servers) {
    assert.ok(server.alive);
    assert.equal(await metric(server, 'happier_cluster_redis_up'), 1);
  }
  const silences = /was silent for/; // of course
  assert.deepEqual((await cluster.faults()).filter((fault) => !silences.test(fault)), []);
}

for (const [name, signal] of [['an orderly restart', 'SIGTERM'], ['a crash that loses everything', 'SIGKILL']]) {
  test(`Redis: ${name}`, async () => {
    const s = await scene();
    await cluster.redis.stop(signal);
    await until(async () => (await metric(near, 'happier_cluster_redis_up')) === 0, 'missed');
    await localDeliveryGoesOn(s);
    const [answer] = await Promise.all([s.caller.call('echo', 3, CALL_LIMIT_MS), delay(AWAY_MS)]);
    assert.equal(answer.ok, false, 'the caller is told');
    await cluster.redis.resume();
    await allIsWellAgain(s);
  });
}

test(`Redis stands still for ${PAUSE_MS / 1_000} s`, async () => {
  const s = await scene();
  cluster.redis.freeze();
  const frozen = delay(PAUSE_MS);
  await localDeliveryGoesOn(s);
  await frozen;
  await s.traffic.more(5);
  cluster.redis.thaw();
  await allIsWellAgain(s);
  assert.ok(s.traffic.slowestMs < PAUSE_MS, `an ack took ${s.traffic.slowestMs} ms`);
});

test('a call that was under way when Redis stood still is answered', async () => {
  const { caller, traffic } = await scene();
  await traffic.stop();
  cluster.redis.freeze();
  const began = performance.now();
  const answer = await caller.call('echo', 4, CALL_LIMIT_MS);
  const ms = performance.now() - began;
  cluster.redis.thaw();
  assert.equal(answer.ok, false);
  assert.equal(typeof answer.error, 'string');
  assert.ok(ms < CALL_LIMIT_MS, `after ${ms} ms`);
  await until(() => isAnswered(caller), 'called again');
});

test('the Node replica complains of nothing but the absence of Redis', async () => {
  const expected = /ECONNREFUSED|ECONNRESET|Connection is closed|seems down|max retries|EPIPE/;
  assert.deepEqual((await cluster.nodes[0].ask('complaints')).filter((line) => !expected.test(line)), []);
});
