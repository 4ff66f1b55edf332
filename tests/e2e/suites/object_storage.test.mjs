// The object storage at the start of the server: what is wrong with it is said, with the setting to look at.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import tls from 'node:tls';
import { ObjectStorage } from '../lib/object_storage.mjs';
import { freePort } from '../lib/ports.mjs';
import { Server, database, flavor, launch } from '../lib/server.mjs';
import { PATIENCE_MS } from '../lib/wait.mjs';

const certificates = fileURLToPath(new URL('../../support/tls/', import.meta.url));

let objects;
let storage;
before(async () => {
  objects = await ObjectStorage.start();
  storage = flavor === 'full' ? await database() : {};
});
after(() => objects.remove());

async function fails(settings, pattern) {
  const child = launch(['full'], { PORT: '0', ...storage, ...objects.settings, ...settings });
  const { code, signal } = await child.finished(PATIENCE_MS);
  assert.deepEqual([code, signal], [1, null], child.output);
  assert.match(child.output, pattern);
  assert.match(child.output, /expected|must name/);
  assert.doesNotMatch(child.output, /panicked|do-not-print/);
}

/** A listener that is closed with the test. */
async function listening(t, listener) {
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => listener.close());
  return String(listener.address().port);
}

/** TLS in front of the storage, with the certificate of the tests. */
function encrypted() {
  const [key, cert] = ['server.key', 'server.crt'].map((name) => readFileSync(`${certificates}${name}`));
  return tls.createServer({ key, cert }, (inside) => {
    const outside = net.connect(objects.port, '127.0.0.1');
    for (const [from, to] of [[inside, outside], [outside, inside]]) from.on('error', () => to.destroy()).pipe(to);
  }).on('tlsClientError', () => {});
}

if (flavor === 'light') {
  test('the light flavor does not ask for object storage', async () => {
    const server = await Server.start({ settings: { ...objects.settings, S3_SECRET_KEY: 'wrong', S3_PORT: '1' } });
    assert.equal((await server.terminate()).code, 0);
  });
}

if (flavor === 'full') {
  test('an access key that is not known', () => fails({ S3_ACCESS_KEY: 'another' }, /S3_ACCESS_KEY/));
  test('a secret key that is not the right one', () => fails({ S3_SECRET_KEY: 'do-not-print-another' }, /S3_SECRET_KEY/));
  test('a bucket that does not exist', () => fails({ S3_BUCKET: 'nothing' }, /S3 bucket does not exist: nothing.*S3_BUCKET/));

  test('nobody at the address', async () => {
    const port = String(await freePort());
    await fails({ S3_PORT: port }, new RegExp(`S3_HOST is 127\\.0\\.0\\.1 and S3_PORT is ${port}, where no S3 service answers`));
    await fails({ S3_HOST: 'no-such-host.invalid' }, /S3_HOST is no-such-host\.invalid/);
  });

  test('something else at the address', async (t) => {
    const web = await listening(t, createServer((_, response) => response.end('<html>hello</html>')));
    await fails({ S3_PORT: web }, /S3_HOST .* does not answer as an S3 service/);
    const silent = await listening(t, net.createServer((socket) => socket.end('SSH-2.0-OpenSSH\r\n')));
    await fails({ S3_PORT: silent }, /S3_HOST .* no S3 service answers/);
  });

  test('TLS where there is none, and none where there is', async (t) => {
    await fails({ S3_USE_SSL: 'true' }, /S3_USE_SSL is true/);
    const port = await listening(t, encrypted());
    await fails({ S3_PORT: port }, /S3_HOST .*S3_USE_SSL/);
  });

  test('a certificate that nobody vouches for, until somebody does', async (t) => {
    const port = await listening(t, encrypted());
    const settings = { ...objects.settings, S3_HOST: 'localhost', S3_USE_SSL: 'true', S3_PORT: port };
    await fails(settings, /S3_USE_SSL is true.*certificate/);
    const server = await Server.start({ settings: { ...settings, SSL_CERT_FILE: `${certificates}ca.crt` } });
    assert.match(server.child.output, /public files go to the bucket photos in us-east-1/);
    assert.equal((await server.terminate()).code, 0);
  });

  test('none at all is a warning', async () => {
    const server = await Server.start();
    assert.match(server.child.output, /no object storage is set/);
    assert.equal((await server.terminate()).code, 0);
  });
}
