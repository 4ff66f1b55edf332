// Bytes meant to harm: each gets a clear answer, and the server goes on serving everybody else.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Http, Polling, SEPARATOR, connection, destroySockets, frame, openSession, openSocket, untilEnd } from '../lib/engineio.mjs';
import { generator, seed } from '../lib/random.mjs';
import { Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const MILLION = 1_000_000;

let server;
let http;
let account;
let bystander;
before(async () => {
  server = await Server.start();
  http = new Http(server);
  account = await Account.login(server);
  bystander = await account.device().ready();
});
after(async () => {
  closeDevices();
  http.close();
  assert.equal((await server.terminate()).code, 0);
});
afterEach(async () => {
  destroySockets();
  assert.equal(server.alive, true, server.child.output);
  assert.equal((await http.request('GET', '/health')).status, 200);
  assert.deepEqual(await bystander.fence(), {});
  assert.deepEqual(bystander.disconnects, []);
});

const json = { 'Content-Type': 'application/json' };
const bearer = () => ({ ...json, Authorization: `Bearer ${account.token}` });

describe('bodies of requests', () => {
  const BODIES = [
    ['a million opening brackets', '['.repeat(MILLION)],
    ['a million opening braces', '{"a":'.repeat(MILLION / 5)],
    ['balanced nesting, far too deep', '['.repeat(MILLION / 2) + ']'.repeat(MILLION / 2)],
    ['deep nesting behind a good member', `{"tag":"t","metadata":"m","x":${'['.repeat(MILLION)}`],
    ['cut in a string', '{"tag":"t'],
    ['two values', '{}{}'],
    ['a trailing comma', '{"tag":"t",}'],
    ['a comment', '{/**/}'],
    ['NaN', '{"tag":NaN}'],
    ['a raw control character', '{"tag":"\u0001"}'],
    ['a byte order mark', '\ufeff{}'],
    ['a lone quote', '"'],
    ['an unknown escape', '{"tag":"\\x41"}'],
  ];
  for (const [name, body] of BODIES) {
    test(`${name}: 400 with a text`, async () => {
      const answer = await http.request('POST', '/v1/sessions', body, bearer());
      assert.equal(answer.status, 400);
      assert.equal(typeof JSON.parse(answer.text).error, 'string');
      assert.ok(answer.text.length < 1_000, 'the answer does not repeat the body');
    });
  }

  const VALUES = [
    ['an array', '[]', /Expected object, received array/],
    ['a number', '7', /Expected object, received number/],
    ['null', 'null', /Expected object, received null/],
    ['members of the wrong type', '{"tag":{},"metadata":[]}', /body\/tag Expected string, received object, body\/metadata Expected string, received array/],
    ['__proto__', '{"__proto__":{"tag":"t"}}', /body\/tag Required/],
  ];
  for (const [name, body, message] of VALUES) {
    test(`${name}: 400, naming the member`, async () => {
      const answer = await http.request('POST', '/v1/sessions', body, bearer());
      assert.equal(answer.status, 400);
      assert.match(JSON.parse(answer.text).message, message);
    });
  }

  test('bytes that are not UTF-8: 400', async () => {
    const body = Buffer.concat([Buffer.from('{"tag":"'), Buffer.from([0xff, 0xfe, 0xc0]), Buffer.from('","metadata":"m"}')]);
    assert.equal((await http.request('POST', '/v1/sessions', body, bearer())).status, 400);
  });

  test('U+0000 in stored text is refused and never stored', async () => {
    const answer = await account.request('POST', '/v1/sessions', { tag: 'a\0b', metadata: 'm' });
    assert.ok([400, 500].includes(answer.status), `status ${answer.status}`);
    assert.equal((await account.ask('GET', '/v1/sessions')).sessions.length, 0);
  });

  test('an unpaired surrogate in stored text is refused', async () => {
    const session = await account.session('surrogate');
    const answer = await account.request('POST', `/v2/sessions/${session}/messages`, '{"ciphertext":"\\ud800"}');
    assert.ok([400, 500].includes(answer.status), `status ${answer.status}`);
    assert.deepEqual(await account.messages(session), []);
  });
});

describe('wrong tokens', () => {
  const forged = () => {
    const parts = account.token.split('.');
    parts[parts.length - 1] = 'A'.repeat(parts.at(-1).length);
    return parts.join('.');
  };
  const HEADERS = [
    ['none', () => undefined, 'Missing authorization header'],
    ['another scheme', () => `Basic ${account.token}`, 'Missing authorization header'],
    ['a lower-case scheme', () => `bearer ${account.token}`, 'Missing authorization header'],
    ['nothing behind the scheme', () => 'Bearer ', 'Missing authorization header'],
    ['no token at all', () => 'Bearer nonsense', 'Invalid token'],
    ['a token cut short', () => `Bearer ${account.token.slice(0, -4)}`, 'Invalid token'],
    ['a token with a forged signature', () => `Bearer ${forged()}`, 'Invalid token'],
    ['a very long token', () => `Bearer ${'a'.repeat(10_000)}`, 'Invalid token'],
    ['a token with something behind it', () => `Bearer ${account.token}x`, 'Invalid token'],
  ];
  for (const [name, header, error] of HEADERS) {
    test(`${name}: 401`, async () => {
      const value = header();
      const answer = await http.request('GET', '/v1/sessions', null, value === undefined ? {} : { Authorization: value });
      assert.deepEqual([answer.status, JSON.parse(answer.text)], [401, { error }]);
    });
  }
});

describe('payloads of sockets', () => {
  const PACKETS = [
    ['a million opening brackets', `42${'['.repeat(MILLION - 2)}`],
    ['an event with a million opening brackets', `42["message",${'['.repeat(MILLION - 20)}`],
    ['balanced nesting, far too deep', `42["message",${'['.repeat(400_000)}${']'.repeat(400_000)}]`],
    ['an endless number', `42["message",${'1'.repeat(1_000)}e`],
    ['an ack id beyond every number', `42${'9'.repeat(400)}["ping"]`],
    ['a million attachments', '4550000000-["message",{"_placeholder":true,"num":0}]'],
    ['an attachment number below zero', '451-["message",{"_placeholder":true,"num":-1}]4'],
    ['a namespace without end', `42/${'a'.repeat(500_000)}`],
    ['only a type', '45'],
  ];
  for (const [name, packet] of PACKETS) {
    test(`${name}: the session is closed`, async () => {
      const socket = await openSession(server, account.token);
      socket.text(packet);
      if (name === 'an attachment number below zero') socket.send(frame(2, Buffer.from([1])));
      const seen = await untilEnd(socket);
      assert.equal(seen.at(-1), 'ended', JSON.stringify(seen));
      assert.match(seen.at(-2) ?? '', /^close/);
    });
  }

  test('the same over polling: 200, then the session is gone', async () => {
    for (const [, packet] of PACKETS.slice(0, 2)) {
      const polling = await Polling.open(http, account.token);
      const answer = await polling.post(packet.slice(0, MILLION));
      assert.deepEqual([answer.status, answer.text], [200, 'ok']);
      const gone = await polling.poll();
      const late = gone.status === 200 ? await polling.poll() : gone; // an orderly farewell may come first
      assert.equal((late.status === 200 ? await polling.poll() : late).status, 400);
    }
  });

  test('events with data of every wrong kind are answered or ignored, the socket stays', async () => {
    const session = await account.session('kinds');
    const socket = await openSession(server, account.token);
    const events = ['message', 'update-metadata', 'update-state', 'session-alive', 'session-end', 'machine-alive',
      'machine-update-metadata', 'machine-update-state', 'artifact-read', 'artifact-create', 'artifact-update',
      'artifact-delete', 'usage-report', 'access-key-get', 'rpc-register', 'rpc-unregister', 'rpc-call', 'ping', 'unknown'];
    const values = ['', ',null', ',7', ',"text"', ',[]', ',{}', ',{},{}', `,{"sid":7}`, ',{"method":{}}',
      `,{"sid":"${session}","message":"m","localId":{}}`, `,{"sid":"${session}"},1,2,3`];
    let id = 0;
    for (const event of events) for (const value of values) socket.text(`42${id++}["${event}"${value}]`);
    socket.text('42999999["ping"]');
    for (;;) {
      const packet = await socket.next();
      assert.doesNotMatch(packet, /^(close|ended|nothing)/, `after ${id} events`);
      if (packet === '43999999[{}]') break;
    }
  });

  test(`random bytes in frames and around them (seed ${seed})`, async () => {
    const random = generator(seed + 3);
    for (let round = 0; round < 100; round++) {
      const bytes = Buffer.from(Array.from({ length: 1 + Math.floor(random() * 200) }, () => Math.floor(random() * 256)));
      const socket = round % 2 === 0 ? await openSocket(server) : await openSession(server, account.token);
      socket.send(round % 4 < 2 ? bytes : frame(1 + Math.floor(random() * 2), bytes));
      socket.destroy();
    }
  });
});

test('a thousand connections that say nothing disturb nobody', async () => {
  const { connect } = await import('node:net');
  const { hostname, port } = new URL(server.url);
  const silent = await Promise.all(Array.from({ length: 1_000 }, () => new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) }, () => resolve(socket));
    socket.on('error', reject);
  })));
  assert.equal((await http.request('GET', '/health')).status, 200);
  const session = await account.session('while silent');
  assert.equal((await bystander.send(session, 'text')).ok, true);
  silent.forEach((socket) => socket.destroy());
});

describe('a CONNECT that is refused again and again', () => {
  const REFUSALS_MAX = 16;
  const wrong = `40{"token":"a.b.${'A'.repeat(86)}"}`;
  const refusal = [/^40\{"sid":"/, /^42\["error",\{"message":"Invalid authentication token"\}\]$/, /^41$/];
  const assertRefusals = (packets) => packets.forEach((packet, at) => assert.match(packet, refusal[at % refusal.length], `packet ${at}`));

  test('on a websocket: closed with the sixteenth; accounts may come one after the other', async () => {
    const socket = await openSession(server);
    for (let i = 1; i < REFUSALS_MAX; i++) socket.text(wrong);
    for (let i = 0; i < 20; i++) {
      socket.text(`40{"token":"${account.token}"}`);
      socket.text('41');
    }
    const seen = [];
    while (seen.length < refusal.length * (REFUSALS_MAX - 1)) seen.push(await socket.next());
    assertRefusals(seen);
    for (let i = 0; i < 20; i++) assert.match(await socket.next(), /^40\{"sid":"/);
    socket.destroy();

    const other = await openSession(server);
    for (let i = 0; i < 2 * REFUSALS_MAX; i++) other.text(wrong);
    const all = [];
    while (all.length < refusal.length * REFUSALS_MAX) all.push(await other.next());
    assertRefusals(all);
    assert.deepEqual(await untilEnd(other), ['close no code', 'ended']);
  });

  test('in one POST: sixteen answers, then the session is gone', async () => {
    const polling = await Polling.open(http);
    const answer = await polling.post(Array(5_000).fill(wrong).join(SEPARATOR));
    assert.deepEqual([answer.status, answer.text], [200, 'ok']);
    const packets = (await polling.poll()).text.split(SEPARATOR);
    assertRefusals(packets.filter((packet) => packet !== '1'));
    assert.equal(packets.filter((packet) => packet !== '1').length, refusal.length * REFUSALS_MAX);
    while ((await polling.poll()).status === 200);
  });
});

describe('a connection that never stops sending, on epoll and one core', () => {
  const SETTINGS = { HAPPIER_CORES: '1', HAPPIER_IO_DRIVER: 'epoll', HAPPIER_PING_INTERVAL_MS: '300' };

  /** Keeps the socket full of `bytes` until told to stop, and forgets what comes back. Resolves once the server reads. */
  async function flood(socket, bytes) {
    socket.on('data', () => {});
    let drained = 0;
    const write = () => { while (socket.writable && socket.write(bytes)); };
    socket.on('drain', () => { drained += 1; write(); });
    socket.on('error', () => {});
    await until(() => !socket.connecting, 'connected');
    write();
    await until(() => drained > 1, 'read');
    return { destroyed: () => socket.destroyed, stop: () => socket.destroy() };
  }

  const repeated = (piece) => Buffer.concat(Array(Math.ceil(65_536 / piece.length)).fill(piece));
  const request = `GET /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.${'A'.repeat(86)}\r\n\r\n`;
  const WAYS = [
    ['events on a websocket', async (crowded, token) => {
      const { socket } = await openSession(crowded, token);
      socket.removeAllListeners('data');
      return flood(socket, repeated(frame(1, Buffer.from('42["unknown",{"a":[1,2,3]}]'))));
    }],
    ['pipelined requests with a wrong token', async (crowded) => flood(connection(crowded, ''), repeated(Buffer.from(request)))],
    ['the body of a request', async (crowded, token) => {
      const head = `POST /v1/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n`;
      return flood(connection(crowded, head), repeated(Buffer.from('1\r\nx\r\n')));
    }],
  ];
  for (const [name, begin] of WAYS) {
    test(`${name}: others are accepted, answered and pinged meanwhile`, async () => {
      const crowded = await Server.start({ settings: SETTINGS });
      try {
        const { token } = await Account.login(crowded);
        const flooding = await begin(crowded, token);
        const health = await fetch(`${crowded.url}/health`);
        assert.equal(health.status, 200);
        const socket = await openSession(crowded, token);
        assert.equal(await socket.next(), '2');
        assert.equal(flooding.destroyed(), false, 'the flood went on until here');
        flooding.stop();
      } finally {
        await crowded.kill();
      }
    });
  }
});
