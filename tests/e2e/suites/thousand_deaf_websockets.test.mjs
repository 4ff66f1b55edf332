// A thousand websockets that do not read, at once: each costs its outbox and is disconnected, counted with its reason, and
// everybody else is told everything in the meantime.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { freePort } from '../lib/ports.mjs';
import { Page } from '../lib/prometheus.mjs';
import { Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const DEAF = 1_000;
const OUTBOX_BYTES = 128 * 1024;
const MESSAGE_BYTES = 48 * 1024;
const MESSAGES = 30;
const MEMORY_GROWTH_BYTES_MAX = 250_000_000;

let server;
let base;
before(async () => {
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  const settings = { HAPPIER_CORES: '4', HAPPIER_OUTBOX_BYTES_MAX: String(OUTBOX_BYTES), METRICS_ENABLED: 'true', METRICS_PORT: String(port) };
  server = await Server.start({ settings });
});
after(() => server.terminate());
afterEach(closeDevices);

/** A process with websockets of this account that never read. */
async function deafSockets(token, count) {
  const child = spawn('python3', [join(import.meta.dirname, '../lib/deaf_sockets.py'), String(server.port), String(count)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  process.on('exit', () => child.kill('SIGKILL'));
  child.stdin.write(`${token}\n`);
  const [said] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(([code]) => [`exit ${code}`])]);
  assert.equal(String(said).trim(), 'ready');
  return child;
}

function residentBytes() {
  const [, kilobytes] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8'));
  return Number(kilobytes) * 1024;
}

test('a thousand of them at once', async () => {
  const [account, stranger] = [await Account.login(server), await Account.login(server)];
  const [session, other] = [await account.session(), await stranger.session()];
  const ways = [['websocket'], ['polling'], ['polling', 'websocket']];
  const readers = await Promise.all(ways.map((transports) => account.device({ transports }).ready()));
  const sender = await account.device().ready();
  const [writer, listener] = await Promise.all([stranger.device().ready(), stranger.device({ transports: ['polling'] }).ready()]);
  const deaf = await deafSockets(account.token, DEAF);
  const slow = async (page = Page.get(base)) => (await page).value('happier_slow_peer_disconnects_total', { reason: 'outbox' });
  const before = residentBytes();
  assert.equal(await slow(), 0);

  let peak = 0;
  for (let n = 1; n <= MESSAGES; n++) {
    assert.equal((await sender.send(session, `${n} ${'x'.repeat(MESSAGE_BYTES)}`)).seq, n);
    // Whoever reads is told before the next message is sent, whatever the others do.
    assert.equal((await writer.send(other, `${n}`)).seq, n);
    await until(() => listener.texts.length === n, 'told as a stranger');
    await until(() => readers.every((reader) => reader.texts.length === n), 'told among the deaf');
    peak = Math.max(peak, residentBytes() - before);
  }
  await until(async () => (await slow()) === DEAF, `disconnected, all ${DEAF}`);
  assert.ok(peak < MEMORY_GROWTH_BYTES_MAX, `the server grew by ${Math.round(peak / 1e6)} MB`);
  for (const reader of [...readers, sender, writer, listener]) assert.deepEqual(reader.disconnects, []);
  for (const reader of readers) {
    assert.deepEqual(reader.texts.map((text) => Number(text.split(' ')[0])), Array.from({ length: MESSAGES }, (_, n) => n + 1));
  }
  const page = await Page.get(base);
  assert.equal(page.value('websocket_connections_total', { type: 'user-scoped' }), 6, 'only those who read are left');
  await until(async () => (await Page.get(base)).value('happier_outbox_bytes') === 0, 'without output that waits');
  deaf.stdin.end();
  await once(deaf, 'exit');
});
