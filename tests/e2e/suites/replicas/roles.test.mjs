// Roles of processes: what each serves, that each ends orderly also when Redis does not answer, and that wrong settings
// end the start with a text that helps.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Account, closeDevices } from '../../lib/client.mjs';
import { Cluster } from '../../lib/cluster.mjs';
import { freePort } from '../../lib/ports.mjs';
import { Redis } from '../../lib/redis.mjs';
import { SHUTDOWN_LIMIT_MS, launch } from '../../lib/server.mjs';
import { TYPES, entries } from '../../lib/stream.mjs';
import { PATIENCE_MS, until } from '../../lib/wait.mjs';

const PASSWORD = 'do-not-print-this-password';
const WORKER_WITHOUT_REDIS = 'SERVER_ROLE=worker requires Redis adapter enabled (set REDIS_URL and HAPPY_SOCKET_REDIS_ADAPTER=1) so worker pushes can fan out to connected API sockets';

let cluster;
before(async () => {
  cluster = await Cluster.start(['all', 'api', 'worker'], { redis: { password: PASSWORD } });
});
after(() => cluster?.remove());

/** Starts with these settings in vain; gives what the process said. */
async function refused(settings) {
  const child = launch(['full'], { PORT: '0', ...cluster.storage, ...settings });
  const { code, signal } = await child.finished(PATIENCE_MS);
  assert.equal(signal, null);
  assert.notEqual(code, 0, child.output);
  assert.doesNotMatch(child.output, /panicked|RUST_BACKTRACE/);
  assert.ok(!child.output.includes(PASSWORD), 'the password is printed');
  return child.output;
}

test('a Redis with a password; each role serves what it should, and none prints the password', async () => {
  const [all, api, worker] = cluster.servers;
  for (const server of [all, api]) assert.equal((await fetch(`${server.url}/health`)).status, 200);
  await assert.rejects(fetch(`http://127.0.0.1:${worker.port}/health`), 'a worker answers nobody');
  for (const server of cluster.servers) {
    const health = await fetch(`${server.metricsUrl}/health`);
    assert.equal(health.status, 200);
    assert.equal((await health.json()).status, 'ok');
    const page = await (await fetch(`${server.metricsUrl}/metrics`)).text();
    assert.equal(page.includes('database_records_total{'), server.role !== 'api', `gauges of ${server.role}`);
    assert.ok(!server.child.output.includes(PASSWORD));
    assert.ok(!readFileSync(`/proc/${server.child.pid}/cmdline`, 'utf8').includes(PASSWORD));
  }
  const account = await Account.login(api);
  const [there, here] = [await account.device({ server: all }).ready(), await account.device().ready()];
  await account.session();
  await until(() => there.updates.length === 1 && here.updates.length === 1, 'told on both');
  closeDevices();
});

test('Redis over TLS: with a certificate that is trusted, and not without', async () => {
  const secure = await Redis.start({ tls: true, password: PASSWORD });
  const settings = { HAPPY_SOCKET_REDIS_ADAPTER: '1', REDIS_URL: secure.url, SERVER_ROLE: 'api' };
  const trusting = { ...settings, SSL_CERT_FILE: secure.files.authority };
  const servers = [await cluster.add('api', trusting), await cluster.add('api', trusting)];
  const account = await Account.login(servers[0]);
  const device = await account.device({ server: servers[1] }).ready();
  await account.session();
  await until(() => device.updates.length === 1, 'told through it');
  closeDevices();
  for (const server of servers) assert.equal((await server.terminate()).code, 0);
  assert.match(await refused(settings), /certificate|UnknownIssuer/i);
  await secure.remove();
});

describe('the end', () => {
  for (const role of ['api', 'all', 'worker']) {
    test(`${role}: SIGTERM, code 0, and a farewell that is its last word`, async () => {
      const server = await cluster.add(role);
      const { code, ms } = await server.terminate();
      assert.equal(code, 0);
      assert.ok(ms < SHUTDOWN_LIMIT_MS, `took ${ms} ms`);
      const said = await entries(cluster.redis);
      const { uid } = said.findLast(({ type }) => type === TYPES.close);
      assert.equal(said.findLast((entry) => entry.uid === uid).type, TYPES.close);
    });
  }

  for (const role of ['api', 'all', 'worker']) {
    test(`${role}: SIGTERM while Redis stands still`, async () => {
      const server = await cluster.add(role);
      cluster.redis.freeze();
      try {
        const { code, ms } = await server.terminate();
        assert.equal(code, 0);
        assert.ok(ms < SHUTDOWN_LIMIT_MS, `took ${ms} ms`);
      } finally {
        cluster.redis.thaw();
      }
    });
  }

  test('SIGTERM while Redis is gone', async () => {
    const servers = await Promise.all(['api', 'worker'].map((role) => cluster.add(role)));
    await cluster.redis.stop();
    try {
      for (const { code, ms } of await Promise.all(servers.map((server) => server.terminate()))) {
        assert.equal(code, 0);
        assert.ok(ms < SHUTDOWN_LIMIT_MS, `took ${ms} ms`);
      }
    } finally {
      await cluster.redis.resume();
    }
  });
});

describe('a start that cannot be', () => {
  for (const [name, settings] of [
    ['at all', {}],
    ['that is switched on', { REDIS_URL: 'redis://127.0.0.1:1' }],
    ['with an address', { HAPPY_SOCKET_REDIS_ADAPTER: '1' }],
  ]) {
    test(`a worker without a Redis ${name}`, async () => {
      assert.ok((await refused({ SERVER_ROLE: 'worker', ...settings })).includes(WORKER_WITHOUT_REDIS));
    });
  }

  test('nobody at the address of Redis', async () => {
    const port = await freePort();
    const output = await refused({ HAPPY_SOCKET_REDIS_ADAPTER: '1', REDIS_URL: `redis://:${PASSWORD}@127.0.0.1:${port}` });
    assert.ok(output.includes('REDIS_URL') || output.includes('Redis'), output);
    assert.ok(output.includes(String(port)) || output.includes('refused'), output);
  });

  for (const url of [`http://:${PASSWORD}@127.0.0.1:6379`, 'nonsense', 'redis://:secret@']) {
    test(`an address that is none: ${url.replace(PASSWORD, '…')}`, async () => {
      const output = await refused({ HAPPY_SOCKET_REDIS_ADAPTER: 'true', REDIS_URL: url });
      assert.ok(output.includes('REDIS_URL'), output);
      assert.match(output, /redis:\/\//, 'what is expected');
    });
  }

  test('a wrong password, and none', async () => {
    for (const url of [`redis://:wrong${PASSWORD.slice(5)}@127.0.0.1:${cluster.redis.port}`, `redis://127.0.0.1:${cluster.redis.port}`]) {
      const output = await refused({ HAPPY_SOCKET_REDIS_ADAPTER: '1', REDIS_URL: url });
      assert.match(output, /WRONGPASS|NOAUTH|password|authenticat/i);
    }
  });

  test('something that is no Redis', async () => {
    const output = await refused({ HAPPY_SOCKET_REDIS_ADAPTER: '1', REDIS_URL: cluster.servers[0].url.replace('http', 'redis') });
    assert.match(output, /Redis|REDIS_URL/);
  });
});
