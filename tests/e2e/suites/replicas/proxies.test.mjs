// Behind nginx and HAProxy, configured as docs/deploy.md says: every transport works, polling stays with its replica,
// large bodies pass, clients are told apart, and when a replica goes its clients come back to another.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { after, afterEach, before, describe, test } from 'node:test';
import { Account, closeDevices } from '../../lib/client.mjs';
import { Cluster } from '../../lib/cluster.mjs';
import { Http, POLLING, Polling, WEBSOCKET, destroySockets, openSocket } from '../../lib/engineio.mjs';
import { metric } from '../../lib/metrics.mjs';
import { Proxy } from '../../lib/proxy.mjs';
import { fence } from '../../lib/stream.mjs';
import { PATIENCE_MS, until } from '../../lib/wait.mjs';

const WAYS = [['websocket'], ['polling'], ['polling', 'websocket']];
const CLIENTS = 30; // addresses of clients; that all fall to one of two replicas will not happen
const LARGE_BYTES = 5_000_000;
const SETTINGS = { HAPPIER_TRUSTED_PROXIES: '127.0.0.1', HAPPIER_RATE_LIMITS: 'on' };

afterEach(() => {
  closeDevices();
  destroySockets();
});

/** A request through a proxy from one of the addresses of this machine. */
function ask(proxy, method, path, { body = null, headers = {}, from = '127.0.0.2' } = {}) {
  return new Promise((resolve, reject) => {
    const options = { method, headers, ca: proxy.authority, localAddress: from, agent: false };
    const sent = request(`${proxy.url}${path}`, options, async (answer) => {
      const chunks = await answer.toArray();
      resolve({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(chunks).toString() });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** Options of a device that goes through a proxy, as the n-th client. */
function through(proxy, n = 0) {
  const agent = new Agent({ ca: proxy.authority, localAddress: `127.0.0.${2 + n}`, keepAlive: true });
  return { server: proxy, client: { agent, ca: proxy.authority } };
}

const readied = (devices) => Promise.all(devices.map((device) => device.ready()));
const numbered = (count, name) => Array.from({ length: count }, (_, n) => `${name} ${n}`);

for (const name of ['nginx', 'haproxy']) {
  describe(name, () => {
    let cluster;
    let proxy;
    let account;
    before(async () => {
      cluster = await Cluster.start(['all', 'all'], { settings: SETTINGS });
      proxy = await Proxy.start(name, cluster.replicas);
      account = await Account.login(cluster.replicas[0]);
    });
    after(async () => {
      await proxy?.stop();
      await cluster?.remove();
    });

    for (const transports of WAYS) {
      test(`${transports.join(', then ')}: connects, stays with one replica, tells and is told`, async () => {
        const session = await account.session();
        const devices = await readied(Array.from({ length: CLIENTS }, (_, n) => account.device({ transports, ...through(proxy, n) })));
        const last = transports.at(-1);
        await Promise.all(devices.map((device) => until(() => device.transport === last, `on ${last}`)));
        const spread = await Promise.all(cluster.replicas.map((replica) => metric(replica, 'websocket_connections_total')));
        assert.ok(spread.every((count) => count > 0), `connections are spread over the replicas: ${spread}`);
        assert.equal(spread[0] + spread[1], CLIENTS);
        const texts = numbered(40, transports.join());
        for (const [n, text] of texts.entries()) assert.equal((await devices[n % CLIENTS].send(session, text)).ok, true);
        await Promise.all(devices.map((device, n) => until(() => device.texts.length >= texts.filter((_, t) => t % CLIENTS !== n).length, 'told of all')));
        await fence(cluster.redis, devices);
        // Each sender is left out of what it sent itself. Writers on two replicas have no common order.
        devices.forEach((device, n) => assert.deepEqual(device.texts.toSorted(), texts.filter((_, t) => t % CLIENTS !== n).toSorted()));
        for (const device of devices) assert.deepEqual(device.disconnects, []);
        closeDevices();
        await until(async () => (await metric(cluster.replicas[0], 'websocket_connections_total')) + (await metric(cluster.replicas[1], 'websocket_connections_total')) === 0, 'all gone');
      });
    }

    test('a polling session of another replica is unknown, and so is its upgrade', async () => {
      const [near, far] = cluster.replicas;
      const [here, there] = [new Http(near), new Http(far)];
      const polling = await Polling.open(here, account.token);
      const wrong = await there.request('GET', `${POLLING}&sid=${polling.sid}`);
      assert.equal(wrong.status, 400);
      assert.deepEqual(JSON.parse(wrong.text), { code: 1, message: 'Session ID unknown' });
      const upgrade = await openSocket(far, `${WEBSOCKET}&sid=${polling.sid}`);
      assert.equal(upgrade.answer.status, 400);
      await polling.post('420["ping"]');
      assert.equal((await polling.poll()).text, '430[{}]', 'the session lives on where it is');
      here.close();
      there.close();
    });

    test('large bodies pass', async () => {
      const session = await account.session();
      const body = JSON.stringify({ ciphertext: 'x'.repeat(LARGE_BYTES) });
      const headers = { Authorization: `Bearer ${account.token}`, 'Content-Type': 'application/json', 'Content-Length': body.length };
      const answer = await ask(proxy, 'POST', `/v2/sessions/${session}/messages`, { body, headers });
      assert.equal(answer.status, 200, answer.text.slice(0, 200));
      assert.equal((await account.messages(session))[0].content.c.length, LARGE_BYTES);
    });

    test('clients are told apart, whatever they claim', async () => {
      // Two replicas count for themselves, so the same client has up to two first requests.
      const left = async (from, headers) => Number((await ask(proxy, 'GET', '/v1/public-share/none', { from, headers })).headers['x-ratelimit-remaining']);
      const seen = [];
      for (let n = 0; n < 8; n++) seen.push(await left('127.0.0.2', { 'X-Forwarded-For': `1.2.3.${n}` }));
      assert.ok(Math.min(...seen) <= 6, `one client uses up its requests: ${seen}`);
      assert.equal(await left('127.0.0.3'), 9, 'another one has not');
    });

    test('when a replica ends, its clients come back to the other one and miss nothing', async () => {
      const session = await account.session();
      const devices = await readied(WAYS.flatMap((transports) => Array.from({ length: 4 }, (_, n) => account.device({ transports, reconnection: true, ...through(proxy, n) }))));
      const { code } = await cluster.replicas[1].terminate();
      assert.equal(code, 0);
      const state = () => devices.map(({ socket, transport, connects, disconnects }) => `${socket.io.opts.transports}: ${transport} ${connects} ${disconnects} ${socket.io._readyState}`).join('; ');
      await until(() => devices.every((device) => device.socket.connected), 'connected again', 2 * PATIENCE_MS).catch((error) => {
        throw new Error(`${error.message}: ${state()}`);
      });
      await Promise.all(devices.map((device) => until(() => device.fence(2_000).catch(() => null), 'answered')));
      assert.equal((await devices[0].send(session, 'after')).ok, true);
      await Promise.all(devices.slice(1).map((device) => until(() => device.texts.includes('after'), 'told')));
      assert.ok(devices.some((device) => device.disconnects.length > 0), 'some were connected to it');
      assert.equal((await ask(proxy, 'GET', '/health')).status, 200);
    });
  });
}

test('one box: nginx before a single server', async () => {
  const cluster = await Cluster.start(['all']);
  const proxy = await Proxy.start('nginx-light', cluster.replicas);
  const account = await Account.login(cluster.replicas[0]);
  const session = await account.session();
  const devices = await readied(WAYS.map((transports) => account.device({ transports, ...through(proxy) })));
  await until(() => devices[2].transport === 'websocket', 'upgraded');
  assert.equal((await devices[0].send(session, 'text')).ok, true);
  await Promise.all(devices.slice(1).map((device) => until(() => device.texts.length === 1, 'told')));
  assert.equal((await ask(proxy, 'GET', '/health')).status, 200);
  closeDevices();
  await proxy.stop();
  await cluster.remove();
});

const text = (path) => readFileSync(new URL(`../../../../${path}`, import.meta.url), 'utf8');

test('every setting that the guide names exists', () => {
  const known = new Set(text('README.md').match(/^\| `[A-Z0-9_]+`/gm).map((cell) => cell.slice(3, -1)));
  const named = new Set(text('docs/deploy.md').match(/\b(?:HAPP(?:Y|IER)_\w+|[A-Z0-9]+_(?:URL|ROLE|SECRET|PORT))\b/g));
  assert.ok(named.size > 8);
  for (const word of named) assert.ok(known.has(word), `${word} is no setting`);
});
