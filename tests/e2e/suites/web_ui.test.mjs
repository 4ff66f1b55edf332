// The web UI as a browser loads it, from a real directory: at the root, under a prefix, by its older names.
import assert from 'node:assert/strict';
import { mkdirSync, openSync, closeSync, ftruncateSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Server, flavor, launch, temporaryDirectory } from '../lib/server.mjs';
import { PATIENCE_MS, until } from '../lib/wait.mjs';

const BANNER = '\n<!-- Welcome to Happier Server! -->\n';
const LARGE_BYTES = 200_000_000;
const SLOW_CLIENTS = 30;
const MEMORY_GROWTH_BYTES_MAX = 30_000_000;

function build() {
  const outer = temporaryDirectory('ui');
  const root = join(outer, 'ui');
  mkdirSync(join(root, 'assets'), { recursive: true });
  mkdirSync(join(root, '_expo'));
  writeFileSync(join(root, 'index.html'), '<html><script src="/_expo/entry.js"></script></html>');
  writeFileSync(join(root, '_expo/entry.js'), 'console.log("ü")');
  writeFileSync(join(root, 'favicon.ico'), Buffer.from([0, 1, 2, 255]));
  writeFileSync(join(outer, 'secret.txt'), 'secret');
  symlinkSync('../../secret.txt', join(root, 'assets/out.txt'));
  const large = openSync(join(root, 'assets/large.bin'), 'w');
  ftruncateSync(large, LARGE_BYTES);
  closeSync(large);
  return root;
}

/** One request as it is written, over a connection of its own; everything that came back. */
function raw(server, target, method = 'GET') {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: hostname, port: Number(port) });
    let text = '';
    socket.on('data', (bytes) => (text += bytes.toString('latin1')));
    socket.on('error', reject);
    socket.on('close', () => resolve(text));
    socket.write(`${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  });
}

function residentBytes(server) {
  const [, kilobytes] = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8'));
  return Number(kilobytes) * 1024;
}

describe('at the root', () => {
  let server;
  let root;
  before(async () => {
    root = build();
    server = await Server.start({ settings: { HAPPY_SERVER_UI_DIR: root } });
  });
  after(async () => assert.equal((await server.terminate()).code, 0));

  test('a page, what it loads, and the same page reloaded inside', async () => {
    for (const path of ['/', '/session/abc?tab=1', '/v2/unknown']) {
      const page = await fetch(`${server.url}${path}`);
      assert.equal(page.status, 200, path);
      assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
      assert.equal(page.headers.get('cache-control'), 'no-cache');
      const html = await page.text();
      assert.ok(html.endsWith(BANNER), html);
      const [, script] = /src="([^"]+)"/.exec(html);
      const loaded = await fetch(new URL(script, page.url));
      assert.equal(loaded.headers.get('content-type'), 'text/javascript; charset=utf-8');
      assert.equal(loaded.headers.get('cache-control'), 'public, max-age=31536000, immutable');
      assert.equal(await loaded.text(), 'console.log("ü")');
    }
    assert.deepEqual([...new Uint8Array(await (await fetch(`${server.url}/favicon.ico`)).arrayBuffer())], [0, 1, 2, 255]);
    const api = await fetch(`${server.url}/v1/unknown`);
    assert.deepEqual([api.status, await api.json()], [404, { error: 'Not found', path: '/v1/unknown', method: 'GET' }]);
    assert.equal((await fetch(`${server.url}/health`)).status, 200);
    const moved = await fetch(`${server.url}/ui/session/abc`, { redirect: 'manual' });
    assert.deepEqual([moved.status, moved.headers.get('location')], [302, '/session/abc']);
  });

  test('HEAD tells the length and sends nothing', async () => {
    const head = await raw(server, '/assets/large.bin', 'HEAD');
    assert.match(head, new RegExp(`^HTTP/1.1 200 OK\r\n[^]*Content-Length: ${LARGE_BYTES}\r\n[^]*\r\n\r\n$`));
    assert.match(await raw(server, '/session/abc', 'HEAD'), /^HTTP\/1.1 404 [^]*\r\n\r\n$/);
  });

  test('nothing outside the directory, however it is asked for', async () => {
    for (const target of [
      '/assets/../../secret.txt', '/assets/..%2f..%2fsecret.txt', '/assets/%252e%252e/%252e%252e/secret.txt',
      '/assets/%2fetc/passwd', '/assets/out.txt', '/assets/..%5c..%5csecret.txt', '/.well-known/../../secret.txt', '/assets/%00',
    ]) {
      const answer = await raw(server, target);
      assert.match(answer, /^HTTP\/1.1 404 Not Found\r\n[^]*\{"error":"Not found"\}$/, target);
    }
    assert.doesNotMatch(await raw(server, '/../secret.txt'), /secret$/);
  });

  test('a large file arrives whole, and readers that stop reading cost little', async () => {
    const before = residentBytes(server);
    const { hostname, port } = new URL(server.url);
    const deaf = Array.from({ length: SLOW_CLIENTS }, () => {
      const socket = net.connect({ host: hostname, port: Number(port) });
      socket.on('error', () => {});
      socket.once('readable', () => {});
      socket.write('GET /assets/large.bin HTTP/1.1\r\nHost: x\r\n\r\n');
      return socket;
    });
    await until(() => deaf.every((socket) => socket.readableLength > 0), 'begun');
    const answer = await fetch(`${server.url}/assets/large.bin`);
    let received = 0;
    for await (const piece of answer.body) received += piece.length;
    assert.equal(received, LARGE_BYTES);
    const growth = residentBytes(server) - before;
    for (const socket of deaf) socket.destroy();
    assert.ok(growth < MEMORY_GROWTH_BYTES_MAX, `${growth} bytes more`);
  });

  test('a file that is cut while it is sent ends its connection, so that the client knows', async () => {
    const path = join(root, 'assets/cut.bin');
    writeFileSync(path, '');
    truncateSync(path, LARGE_BYTES);
    const answer = await fetch(`${server.url}/assets/cut.bin`);
    assert.equal(answer.headers.get('content-length'), String(LARGE_BYTES));
    const reader = answer.body.getReader();
    await reader.read();
    truncateSync(path, 1);
    await assert.rejects(async () => {
      while (!(await reader.read()).done);
    });
    rmSync(path);
    assert.equal((await fetch(`${server.url}/health`)).status, 200);
  });

  test('a new index is served at once', async () => {
    writeFileSync(join(root, 'index.html'), 'another');
    assert.equal(await (await fetch(server.url)).text(), `another${BANNER}`);
    rmSync(join(root, 'index.html'));
    const missing = await fetch(server.url);
    assert.deepEqual([missing.status, missing.headers.get('cache-control')], [404, 'no-cache']);
  });
});

test('under a prefix, by the older names of the settings', async () => {
  const settings = { HAPPY_SERVER_LIGHT_UI_DIR: build(), HAPPY_SERVER_LIGHT_UI_PREFIX: '/app/' };
  const server = await Server.start({ settings });
  const moved = await fetch(`${server.url}/app`, { redirect: 'manual' });
  assert.deepEqual([moved.status, moved.headers.get('location')], [302, '/app/']);
  for (const path of ['/app', '/app/', '/app/session/1']) {
    assert.ok((await (await fetch(`${server.url}${path}`)).text()).endsWith(BANNER), path);
  }
  assert.equal(await (await fetch(`${server.url}/app/_expo/entry.js`)).text(), 'console.log("ü")');
  assert.equal(await (await fetch(`${server.url}/_expo/entry.js`)).text(), 'console.log("ü")');
  assert.equal(await (await fetch(server.url)).text(), 'Welcome to Happier Server!');
  assert.equal((await fetch(`${server.url}/session/1`)).status, 404);
  assert.equal((await server.terminate()).code, 0);
});

test('a prefix that hides a route is refused with the name of the setting', async () => {
  const server = await Server.start();
  await server.terminate();
  for (const prefix of ['/health', '/v1/kv/:key', '/v1/kv/x', '/v1/updates', '/v3', 'app']) {
    const settings = { PORT: '0', ...server.storage, HAPPY_SERVER_UI_DIR: '/nowhere', HAPPY_SERVER_UI_PREFIX: prefix };
    const child = launch([flavor], settings);
    assert.equal((await child.finished(PATIENCE_MS)).code, 1);
    assert.match(child.output, /HAPPY_SERVER_UI_PREFIX is "/);
    assert.ok(child.output.includes(`"${prefix}"`), child.output);
  }
});
