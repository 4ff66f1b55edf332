// A peer that stops reading costs a bounded amount of memory, and nobody else notices.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import { frame } from '../../parity/lib/websocket.mjs';
import { Account, closeDevices } from '../lib/client.mjs';
import { WEBSOCKET } from '../lib/engineio.mjs';
import { Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const MESSAGES = 120;
const MESSAGE_BYTES = 900_000;
const MEMORY_GROWTH_BYTES_MAX = 100_000_000;

let server;
before(async () => {
  server = await Server.start();
});
after(() => server.terminate());
afterEach(closeDevices);

/** An admitted websocket that reads nothing more; counts what arrives once it is resumed. */
function deafSocket(token) {
  const url = new URL(server.url);
  const socket = net.connect({ host: url.hostname, port: Number(url.port) });
  const state = { socket, received: 0, closed: false };
  let text = '';
  return new Promise((resolve, reject) => {
    socket.on('error', () => {});
    socket.on('close', () => {
      state.closed = true;
      reject(new Error('closed before it was admitted'));
    });
    socket.on('data', (bytes) => {
      state.received += bytes.length;
      if (text.includes('40{"sid"')) return;
      const admitted = (text += bytes.toString('latin1')).includes('40{"sid"');
      if (!admitted) return;
      socket.pause();
      resolve(state);
    });
    socket.write(`GET ${WEBSOCKET} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n');
    socket.write(frame(1, `40${JSON.stringify({ token })}`));
  });
}

/** Anonymous memory of the server, which its page cache and its database files are no part of. */
function residentBytes() {
  const [, kilobytes] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8'));
  return Number(kilobytes) * 1024;
}

test('it is disconnected while more than 100 MB are pushed, and the others are undisturbed', async () => {
  const account = await Account.login(server);
  const session = await account.session();
  const [sender, reader] = await Promise.all([account.device().ready(), account.device().ready()]);
  const stranger = await (await Account.login(server)).device().ready();
  const deaf = await deafSocket(account.token);
  const before = residentBytes();
  let peak = 0;
  for (let i = 1; i <= MESSAGES; i++) {
    const ack = await sender.send(session, `${i} ${'x'.repeat(MESSAGE_BYTES)}`);
    assert.equal(ack.seq, i);
    await stranger.fence();
    // Whoever reads is told before the next one is sent: a busy machine makes no slow reader of it.
    await until(() => reader.texts.length === i, 'told');
    peak = Math.max(peak, residentBytes() - before);
  }
  assert.deepEqual(reader.texts.map((text) => Number(text.split(' ')[0])), Array.from({ length: MESSAGES }, (_, i) => i + 1));
  assert.deepEqual([reader.disconnects, sender.disconnects, stranger.disconnects], [[], [], []]);
  assert.ok(peak < MEMORY_GROWTH_BYTES_MAX, `the server grew by ${Math.round(peak / 1e6)} MB`);
  deaf.socket.resume();
  await until(() => deaf.closed, 'disconnected');
  const pushed = MESSAGES * MESSAGE_BYTES;
  assert.ok(deaf.received < pushed, `it got ${deaf.received} of ${pushed} bytes, so nothing was held back`);
});

test('a poller that never comes back for its packets is given up, too', async () => {
  const account = await Account.login(server);
  const session = await account.session();
  const sender = await account.device().ready();
  const opened = await fetch(`${server.url}/v1/updates/?EIO=4&transport=polling`).then((answer) => answer.text());
  const url = `${server.url}/v1/updates/?EIO=4&transport=polling&sid=${JSON.parse(opened.slice(1)).sid}`;
  await fetch(url, { method: 'POST', body: `40${JSON.stringify({ token: account.token })}` });
  await fetch(url).then((answer) => answer.text());
  const before = residentBytes();
  for (let i = 1; i <= MESSAGES; i++) assert.equal((await sender.send(session, `${i} ${'x'.repeat(MESSAGE_BYTES)}`)).seq, i);
  assert.ok(residentBytes() - before < MEMORY_GROWTH_BYTES_MAX, `the server grew by ${(residentBytes() - before) / 1e6} MB`);
  const late = await fetch(url);
  assert.deepEqual([late.status, await late.json()], [400, { code: 1, message: 'Session ID unknown' }]);
});
