// HTTP/1.1 byte by byte: framing, persistence, and everything that must be refused.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Account } from '../lib/client.mjs';
import { Http, Polling, connection } from '../lib/engineio.mjs';
import { Server } from '../lib/server.mjs';
import { PATIENCE_MS, until } from '../lib/wait.mjs';

let server;
let http;
before(async () => {
  server = await Server.start();
  http = new Http(server);
});
after(async () => {
  http.close();
  assert.equal((await server.terminate()).code, 0);
});

const HOST = 'Host: localhost\r\n';
const BAD_REQUEST = { error: 'Bad Request', message: 'Client Error', statusCode: 400 };
const TOO_LARGE = { error: 'Request Header Fields Too Large', message: 'Exceeded maximum allowed HTTP header size', statusCode: 431 };

const get = (head = '', path = '/health', version = 'HTTP/1.1') => `GET ${path} ${version}\r\n${HOST}${head}\r\n`;
const post = (head, body) => `POST /v1/auth HTTP/1.1\r\n${HOST}Content-Type: application/json\r\n${head}\r\n${body}`;

const REFUSED = [
  ['Content-Length together with Transfer-Encoding', post('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n')],
  ['two Content-Length fields', post('Content-Length: 2\r\nContent-Length: 3\r\n', '{}')],
  ['two equal Content-Length fields', post('Content-Length: 2\r\nContent-Length: 2\r\n', '{}')],
  ['a list as Content-Length', post('Content-Length: 2, 2\r\n', '{}')],
  ['a sign in Content-Length', post('Content-Length: +2\r\n', '{}')],
  ['a negative Content-Length', post('Content-Length: -2\r\n', '{}')],
  ['a Content-Length in hexadecimal', post('Content-Length: 0x2\r\n', '{}')],
  ['an endless Content-Length', post(`Content-Length: ${'9'.repeat(40)}\r\n`, '{}')],
  ['a last coding that is not chunked', post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n')],
  ['an unknown coding', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n')],
  ['a coding before chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')],
  ['a chunk size that is no number', post('Transfer-Encoding: chunked\r\n', 'xyz\r\n{}\r\n0\r\n\r\n')],
  ['a chunk size with a sign', post('Transfer-Encoding: chunked\r\n', '+2\r\n{}\r\n0\r\n\r\n')],
  ['an endless chunk size', post('Transfer-Encoding: chunked\r\n', `${'f'.repeat(20)}\r\n{}\r\n0\r\n\r\n`)],
  ['a chunk line ended by LF', post('Transfer-Encoding: chunked\r\n', '2\n{}\r\n0\r\n\r\n')],
  ['a chunk without its CRLF', post('Transfer-Encoding: chunked\r\n', '2\r\n{}XX0\r\n\r\n')],
  ['a header line ended by LF', `GET /health HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n`],
  ['CR without LF', `GET /health HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n`],
  ['white space before the colon', get('X : y\r\n')],
  ['obsolete line folding', get('X: y\r\n z\r\n')],
  ['NUL in a value', get('X: a\0b\r\n')],
  ['a control character in a value', get('X: a\x01b\r\n')],
  ['an empty field name', get(': y\r\n')],
  ['a field name that is no token', get('X(): y\r\n')],
  ['an unknown method', `FETCH /health HTTP/1.1\r\n${HOST}\r\n`],
  ['a lower-case method', `get /health HTTP/1.1\r\n${HOST}\r\n`],
  ['HTTP/2.0', get('', '/health', 'HTTP/2.0')],
  ['HTTP/0.9', get('', '/health', 'HTTP/0.9')],
  ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a TLS hello', Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...Array(32).fill(7)])],
  ['binary noise', Buffer.from(Array.from({ length: 64 }, (_, i) => (i * 37 + 128) & 0xff))],
  ['two Host fields', `GET /health HTTP/1.1\r\n${HOST}${HOST}\r\n`],
];

describe('refused with 400 and closed', () => {
  for (const [name, bytes] of REFUSED) {
    test(name, async () => {
      const { answers, closed } = await http.raw(bytes, { closes: true });
      assert.equal(answers.length, 1, JSON.stringify(answers));
      assert.equal(answers[0].status, 400);
      assert.deepEqual(JSON.parse(answers[0].text), BAD_REQUEST);
      assert.match(answers[0].headers['content-type'], /^application\/json/);
      assert.equal(closed, true, 'the connection is closed');
      assert.equal((await http.request('GET', '/health')).status, 200);
    });
  }

  test('a smuggled second request is never answered', async () => {
    const smuggled = `GET /v1/features HTTP/1.1\r\n${HOST}\r\n`;
    const { answers } = await http.raw(post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${smuggled}`), { responses: 2 });
    assert.deepEqual(answers.map((a) => a.status), [400]);
  });
});

describe('limits', () => {
  test('a head of more than 16 KiB: 431', async () => {
    const { answers, closed } = await http.raw(get(`X: ${'y'.repeat(17_000)}\r\n`), { closes: true });
    assert.equal(answers[0].status, 431);
    assert.deepEqual(JSON.parse(answers[0].text), TOO_LARGE);
    assert.equal(closed, true);
  });

  test('a head that never ends: 431', async () => {
    const { answers, closed } = await http.raw(`GET /health HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(4_000)}`, { closes: true });
    assert.equal(answers[0].status, 431);
    assert.equal(closed, true);
  });

  test('a request line that never ends is refused', async () => {
    const { answers, closed } = await http.raw(`GET /${'a'.repeat(40_000)}`, { closes: true });
    assert.ok([400, 431].includes(answers[0].status), `status ${answers[0].status}`);
    assert.equal(closed, true);
  });

  test('a head of almost 16 KiB is served', async () => {
    const { answers } = await http.raw(get(`X: ${'y'.repeat(15_000)}\r\n`));
    assert.equal(answers[0].status, 200);
  });

  test('a body announced above 100 MiB: 413 before it is sent', async () => {
    const { answers, closed } = await http.raw(post('Content-Length: 104857601\r\n', '{'), { closes: true });
    assert.equal(answers[0].status, 413);
    assert.deepEqual(JSON.parse(answers[0].text), { error: 'FastifyError', message: 'Request body is too large', statusCode: 413 });
    assert.equal(closed, true);
  });
});

describe('bodies of those who have no token', () => {
  const announced = (length, head = '') => post(`Content-Length: ${length}\r\n${head}`, '');
  test('more than 1 MiB: 413 before it is sent', async () => {
    for (const head of ['', 'Authorization: Bearer a.b.c\r\n', 'Expect: 100-continue\r\n']) {
      const { answers, closed } = await http.raw(announced(1_048_577, head), { closes: true });
      assert.deepEqual([answers[0].status, closed], [413, true]);
    }
  });

  test('chunks: 413 once they are more', async () => {
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
    const { answers } = await http.raw(post('Transfer-Encoding: chunked\r\n', `${chunk.repeat(16)}1\r\nx\r\n0\r\n\r\n`), { closes: true });
    assert.equal(answers[0].status, 413);
  });

  test('1 MiB, and with a token more than that, is read', async () => {
    const body = JSON.stringify({ publicKey: 'x'.repeat(1_048_576 - 16) });
    assert.equal(body.length, 1_048_576);
    assert.match((await http.request('POST', '/v1/auth', body, { 'Content-Type': 'application/json' })).text, /challenge Required/);
    const { token } = await Account.login(server);
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
    assert.match((await http.request('POST', '/v1/auth', `${body} `, headers)).text, /challenge Required/);
  });
});

test('more bodies than there is memory for: 503, until there is room again', async () => {
  const small = await Server.start({ settings: { HAPPIER_BODY_BYTES_MAX: '1000000', HAPPIER_BODIES_BYTES_MAX: '1000000' } });
  const client = new Http(small);
  try {
    const { token } = await Account.login(small);
    const body = JSON.stringify({ publicKey: 'x'.repeat(700_000) });
    const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('');
    const first = connection(small, `POST /v1/auth HTTP/1.1\r\n${HOST}${fields}Content-Length: ${body.length}\r\n\r\n${body.slice(0, -1)}`);
    const other = JSON.stringify({ publicKey: 'x'.repeat(400_000) });
    const refused = await until(async () => {
      const answer = await client.request('POST', '/v1/auth', other, headers);
      return answer.status === 503 && answer;
    }, 'refused');
    assert.deepEqual(JSON.parse(refused.text), { error: 'Service Unavailable', message: 'Service Unavailable', statusCode: 503 });
    assert.match(refused.headers.connection, /close/i);
    assert.equal((await client.request('POST', '/v1/auth', '{}', headers)).status, 400, 'ordinary requests are served');
    const polling = await Polling.open(client);
    assert.equal((await polling.post(`4${'x'.repeat(400_000)}`)).status, 503);
    assert.equal((await polling.poll()).status, 400, 'what it had to say is lost, and so is the session');
    first.write(body.slice(-1));
    await until(() => /^HTTP\/1\.1 400 /.test(first.received), 'answered');
    assert.match((await client.request('POST', '/v1/auth', other, headers)).text, /challenge Required/);
  } finally {
    client.close();
    await small.kill();
  }
});

describe('framing and persistence', () => {
  test('an answer of a kept connection', async () => {
    const { answers, closed } = await http.raw(get());
    assert.equal(answers[0].status, 200);
    assert.match(answers[0].headers.connection, /keep-alive/i);
    assert.equal(answers[0].headers['keep-alive'], 'timeout=72');
    assert.equal(answers[0].headers['access-control-allow-origin'], '*');
    assert.ok(Math.abs(Date.parse(answers[0].headers.date) - Date.now()) < PATIENCE_MS, answers[0].headers.date);
    assert.equal(closed, false);
  });

  test('Connection: close', async () => {
    const { answers, closed } = await http.raw(get('Connection: close\r\n'), { closes: true });
    assert.equal(answers[0].status, 200);
    assert.match(answers[0].headers.connection, /close/i);
    assert.equal(closed, true);
  });

  test('HTTP/1.0 is answered in HTTP/1.1 and closed', async () => {
    const { answers, closed } = await http.raw('GET /health HTTP/1.0\r\n\r\n', { closes: true });
    assert.equal(answers[0].status, 200);
    assert.equal(answers[0].version ?? 'HTTP/1.1', 'HTTP/1.1');
    assert.equal(closed, true);
  });

  test('HTTP/1.0 with keep-alive stays open', async () => {
    const { answers, closed } = await http.raw('GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    assert.equal(answers[0].status, 200);
    assert.equal(closed, false);
  });

  test('no Host in HTTP/1.1: 400 without body', async () => {
    const { answers, closed } = await http.raw('GET /health HTTP/1.1\r\n\r\n', { closes: true });
    assert.deepEqual([answers[0].status, answers[0].text], [400, '']);
    assert.equal(closed, true);
  });

  test('pipelined requests are answered in order', async () => {
    const { answers } = await http.raw(get() + get('', '/nowhere') + get('', '/') + get('Connection: close\r\n'), { responses: 4 });
    assert.deepEqual(answers.map((a) => a.status), [200, 404, 200, 200]);
    assert.equal(answers[2].text, 'Welcome to Happier Server!');
  });

  test('empty lines before a request are skipped', async () => {
    assert.equal((await http.raw(`\r\n\r\n${get()}`)).answers[0].status, 200);
  });

  test('a chunked body with extensions and trailers', async () => {
    const { answers } = await http.raw(post('Transfer-Encoding: chunked\r\n', '1;a=b\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n') + get(), { responses: 2 });
    assert.deepEqual(answers.map((a) => a.status), [400, 200]);
    assert.match(JSON.parse(answers[0].text).message, /body\/publicKey Required/);
  });

  test('a body in many pieces', async () => {
    const body = JSON.stringify({ publicKey: 1 });
    const answer = await http.request('POST', '/v1/auth', body, { 'Content-Type': 'application/json' });
    assert.match(JSON.parse(answer.text).message, /body\/publicKey Expected string, received number/);
  });

  test('the body of a GET is read and discarded', async () => {
    const { answers } = await http.raw(get('Content-Length: 5\r\n') + 'hello' + get(), { responses: 2 });
    assert.deepEqual(answers.map((a) => a.status), [200, 200]);
  });

  test('Expect: 100-continue is answered before the body comes', async () => {
    const socket = connection(server, post('Expect: 100-continue\r\nContent-Length: 2\r\n', ''));
    await until(() => socket.received.includes('\r\n\r\n'), 'answered');
    assert.match(socket.received, /^HTTP\/1\.1 100 Continue\r\n/);
    socket.write('{}');
    await until(() => /\r\nHTTP\/1\.1 400 /.test(socket.received), 'answered for good');
    socket.destroy();
  });

  test('another expectation: 417', async () => {
    const { answers } = await http.raw(get('Expect: miracles\r\n'));
    assert.deepEqual([answers[0].status, answers[0].text], [417, '']);
  });

  test('CONNECT is closed without an answer', async () => {
    assert.deepEqual(await http.raw(`CONNECT example:443 HTTP/1.1\r\n${HOST}\r\n`), { answers: [], closed: true });
  });

  test('HEAD has the head of GET and no body', async () => {
    const { answers } = await http.raw(`HEAD / HTTP/1.1\r\n${HOST}\r\n`, { headMethod: true });
    assert.equal(answers[0].status, 200);
    assert.equal(answers[0].headers['content-length'], String('Welcome to Happier Server!'.length));
  });

  test('an Upgrade elsewhere is answered as if it were not there', async () => {
    const { answers } = await http.raw(get('Connection: Upgrade\r\nUpgrade: h2c\r\n'));
    assert.equal(answers[0].status, 200);
  });
});
