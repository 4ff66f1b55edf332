// engine.io over websocket: handshake, RFC 6455 frames, violations, and the upgrade from polling.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Account } from '../lib/client.mjs';
import { ENDPOINT, Http, POLLING, Polling, SEPARATOR, WEBSOCKET, destroySockets, frame, held, openSession, openSocket, untilEnd } from '../lib/engineio.mjs';
import { Server } from '../lib/server.mjs';
import { delay, until } from '../lib/wait.mjs';

const MILLION = 1_000_000;

let server;
let http;
let account;
let token;
before(async () => {
  server = await Server.start();
  http = new Http(server);
  account = await Account.login(server);
  ({ token } = account);
});
after(async () => {
  http.close();
  assert.equal((await server.terminate()).code, 0);
});
afterEach(destroySockets);

const text = (value, options) => frame(1, value, options);
const bytes = (...values) => Buffer.from(values);
const code = (value, reason = '') => Buffer.concat([bytes(value >> 8, value & 255), Buffer.from(reason)]);

/** The end of a connection may be seen here before it is seen there: until then polling is merely the wrong transport. */
async function forgotten(sid) {
  await until(async () => {
    const answer = await http.request('GET', `${POLLING}&sid=${sid}`);
    const { code: error } = JSON.parse(answer.text);
    assert.ok(answer.status === 400 && (error === 1 || error === 3), answer.text);
    return error === 1;
  }, 'forgotten');
}

describe('handshake', () => {
  test('101 with the CORS headers, no extension, then the open packet', async () => {
    const socket = await openSocket(server, WEBSOCKET, { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' } });
    assert.equal(socket.accepted, true);
    const { headers } = socket.answer;
    assert.equal(headers['access-control-allow-origin'], '*');
    assert.equal(headers['access-control-allow-credentials'], 'true');
    assert.equal(headers['sec-websocket-extensions'], undefined);
    const opened = await socket.next();
    const { sid, ...members } = JSON.parse(opened.slice(1));
    assert.equal(opened[0], '0');
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(members, { upgrades: [], pingInterval: 15_000, pingTimeout: 45_000, maxPayload: MILLION });
  });

  test('Connection may be a list, in any case; the first subprotocol is echoed', async () => {
    const socket = await openSocket(server, WEBSOCKET, { headers: { Connection: 'keep-alive, UPGRADE', Upgrade: 'WebSocket', 'Sec-WebSocket-Protocol': 'one, two' } });
    assert.equal(socket.accepted, true);
    assert.equal(socket.answer.headers['sec-websocket-protocol'], 'one');
  });

  const REFUSED = [
    ['no transport', `${ENDPOINT}?EIO=4`, {}, 400, 'Transport unknown'],
    ['an unknown session', `${WEBSOCKET}&sid=unknown`, {}, 400, 'Session ID unknown'],
    ['another method', WEBSOCKET, { method: 'POST' }, 400, 'Bad handshake method'],
    ['an old revision', `${ENDPOINT}?EIO=3&transport=websocket`, {}, 400, 'Unsupported protocol version'],
    ['another protocol', WEBSOCKET, { headers: { Upgrade: 'h2c' } }, 400, 'Invalid Upgrade header'],
    ['no key', WEBSOCKET, { headers: { 'Sec-WebSocket-Key': null } }, 400, 'Missing or invalid Sec-WebSocket-Key header'],
    ['a short key', WEBSOCKET, { headers: { 'Sec-WebSocket-Key': 'short' } }, 400, 'Missing or invalid Sec-WebSocket-Key header'],
    ['no version', WEBSOCKET, { headers: { 'Sec-WebSocket-Version': null } }, 400, 'Missing or invalid Sec-WebSocket-Version header'],
    ['an old version', WEBSOCKET, { headers: { 'Sec-WebSocket-Version': '7' } }, 400, 'Missing or invalid Sec-WebSocket-Version header'],
    ['a malformed subprotocol', WEBSOCKET, { headers: { 'Sec-WebSocket-Protocol': 'a,,b' } }, 400, 'Invalid Sec-WebSocket-Protocol header'],
  ];
  for (const [name, path, options, status, message] of REFUSED) {
    test(`${name}: ${status} ${message}`, async () => {
      const socket = await openSocket(server, path, options);
      await socket.until(() => socket.closed);
      assert.equal(socket.answer?.status, status);
      assert.equal(socket.received.toString(), message);
      assert.match(socket.answer.headers.connection, /close/i);
      assert.equal(socket.answer.headers['content-length'], String(message.length));
      assert.equal(socket.closed, true);
      if (name === 'an old version') assert.equal(socket.answer.headers['sec-websocket-version'], '13, 8');
    });
  }

  test('another method with a live session: 405', async () => {
    const { sid } = await Polling.open(http, token);
    const socket = await openSocket(server, `${WEBSOCKET}&sid=${sid}`, { method: 'POST' });
    await socket.until(() => socket.closed);
    assert.deepEqual([socket.answer?.status, socket.received.toString()], [405, 'Invalid HTTP method']);
  });

  test('frames in the same segment as the request', async () => {
    const first = text(`40${JSON.stringify({ token })}`);
    const { answers } = await http.raw(Buffer.concat([
      Buffer.from(`GET ${WEBSOCKET} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`),
      first, frame(8, code(1000)),
    ]), { closes: true });
    assert.equal(answers[0].status, 101);
  });
});

describe('frames', () => {
  const FRAGMENTS = [
    ['three fragments', [text('421["pi', { fin: false }), frame(0, 'ng', { fin: false }), frame(0, '"]')]],
    ['empty fragments', [text('', { fin: false }), frame(0, '421["ping"]', { fin: false }), frame(0, '')]],
    ['one byte each', [...'421["ping"]'].map((c, i, all) => frame(i === 0 ? 1 : 0, c, { fin: i === all.length - 1 }))],
  ];
  for (const [name, frames] of FRAGMENTS) {
    test(`${name} are one message`, async () => {
      const socket = await openSession(server, token);
      socket.send(Buffer.concat(frames));
      assert.equal(await socket.next(), '431[{}]');
    });
  }

  test('a message cut at every byte', async () => {
    const socket = await openSession(server, token);
    for (const byte of text('421["ping"]')) {
      socket.send(bytes(byte));
      await delay(1);
    }
    assert.equal(await socket.next(), '431[{}]');
  });

  test('many frames in one segment are answered in order', async () => {
    const socket = await openSession(server, token);
    socket.send(Buffer.concat(Array.from({ length: 200 }, (_, i) => text(`42${i}["ping"]`))));
    for (let i = 0; i < 200; i++) assert.equal(await socket.next(), `43${i}[{}]`);
  });

  test('ping is answered with the same bytes, also between fragments', async () => {
    const socket = await openSession(server, token);
    socket.send(Buffer.concat([frame(9, ''), text('421["pi', { fin: false }), frame(9, 'y'.repeat(125)), frame(0, 'ng"]')]));
    assert.deepEqual([await socket.next(), await socket.next(), await socket.next()], ['pong ', `pong ${'y'.repeat(125)}`, '431[{}]']);
  });

  test('unasked pongs of both kinds are ignored', async () => {
    const socket = await openSession(server, token);
    socket.send(Buffer.concat([frame(10, 'x'), text('3'), text('3probe'), text('421["ping"]')]));
    assert.equal(await socket.next(), '431[{}]');
  });

  test('a close packet, an upgrade and a noop over websocket are ignored', async () => {
    const socket = await openSession(server, token);
    socket.send(Buffer.concat([text('5'), text('6'), text('0'), text('421["ping"]')]));
    assert.equal(await socket.next(), '431[{}]');
  });

  test('a message of exactly a million bytes is taken', async () => {
    const socket = await openSession(server, token);
    const head = '42["unknown","';
    socket.text(`${head}${'x'.repeat(MILLION - head.length - 2)}"]`);
    socket.text('421["ping"]');
    assert.equal(await socket.next(), '431[{}]');
  });

  test('lengths in a longer form than needed are taken', async () => {
    const socket = await openSession(server, token);
    const payload = Buffer.from('421["ping"]');
    const wide = Buffer.alloc(8);
    wide.writeBigUInt64BE(BigInt(payload.length));
    socket.send(Buffer.concat([bytes(0x81, 0xfe, 0, payload.length, 0, 0, 0, 0), payload]));
    assert.equal(await socket.next(), '431[{}]');
    socket.send(Buffer.concat([bytes(0x81, 0xff), wide, bytes(0, 0, 0, 0), payload]));
    assert.equal(await socket.next(), '431[{}]');
  });

  const CLOSES = [
    ['empty', Buffer.alloc(0), 'close no code'],
    ['1000', code(1000), 'close 1000'],
    ['1001 with a reason', code(1001, 'going away'), 'close 1001'],
    ['1003', code(1003), 'close 1003'],
    ['1007', code(1007), 'close 1007'],
    ['1014', code(1014), 'close 1014'],
    ['3000', code(3000), 'close 3000'],
    ['4999', code(4999), 'close 4999'],
  ];
  for (const [name, payload, echoed] of CLOSES) {
    test(`a close frame is echoed: ${name}`, async () => {
      const socket = await openSession(server, token);
      socket.send(Buffer.concat([frame(8, payload), text('421["ping"]')]));
      assert.deepEqual([await socket.next(), await socket.next()], [echoed, 'ended']);
    });
  }

  const VIOLATIONS = [
    ['an unmasked frame', text('421["ping"]', { mask: false }), 1002],
    ['RSV1', text('x', { rsv: 4 }), 1002],
    ['RSV2', text('x', { rsv: 2 }), 1002],
    ['RSV3', text('x', { rsv: 1 }), 1002],
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, frame(opcode, 'x'), 1002]),
    ['a continuation of nothing', frame(0, 'x'), 1002],
    ['a new message inside a fragmented one', Buffer.concat([text('a', { fin: false }), text('b')]), 1002],
    ['a fragmented ping', frame(9, 'x', { fin: false }), 1002],
    ['a ping of 126 bytes', frame(9, 'x'.repeat(126)), 1002],
    ['a close frame of 126 bytes', frame(8, Buffer.concat([code(1000), Buffer.alloc(124, 0x61)])), 1002],
    ['a close frame of one byte', frame(8, bytes(3)), 1002],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535].map((value) => [`close code ${value}`, frame(8, code(value)), 1002]),
    ['a close reason that is not UTF-8', frame(8, Buffer.concat([code(1000), bytes(0xff)])), 1007],
    ['text that is not UTF-8', text(bytes(0x34, 0x32, 0xff)), 1007],
    ['text with half a character', text(bytes(0x34, 0x32, 0xe2, 0x82)), 1007],
    ['text with an encoded surrogate', text(bytes(0x34, 0xed, 0xa0, 0x80)), 1007],
    ['half a character over two fragments', Buffer.concat([text(bytes(0x34, 0xe2), { fin: false }), frame(0, bytes(0x28))]), 1007],
    ['a million and one bytes announced', text('42', { length: MILLION + 1 }), 1009],
    ['a length of 2^53', Buffer.concat([bytes(0x81, 0xff, 0, 0x20, 0, 0, 0, 0, 0, 0), bytes(0, 0, 0, 0)]), 1009],
    ['fragments of more than a million bytes', Buffer.concat([text('x'.repeat(600_000), { fin: false }), frame(0, '', { length: 600_000 })]), 1009],
  ];
  for (const [name, sent, status] of VIOLATIONS) {
    test(`${name}: closed with ${status}`, async () => {
      const socket = await openSession(server, token);
      socket.send(sent);
      const seen = await untilEnd(socket);
      assert.deepEqual(seen, [`close ${status}`, 'ended']);
    });
  }

  test('a connection that is lost ends the session', async () => {
    const socket = await openSession(server, token);
    socket.destroy();
    await forgotten(socket.handshake.sid);
  });
});

describe('violations above the frames: an empty close frame', () => {
  const ROWS = [
    ['an unknown packet type', '9'],
    ['an empty message', ''],
    ['a message without data', '4'],
    ['a ping of the client', '2'],
    ['JSON that is none', '42["ping"'],
    ['something behind the JSON', '42["ping"]x'],
    ['an event that is no array', '42"ping"'],
    ['an event without a name', '42[]'],
    ['a name that is no text', '42[null]'],
    ['a reserved name', '42["connect"]'],
    ['another reserved name', '42["newListener"]'],
    ['CONNECT a second time', '40'],
    ['CONNECT_ERROR', '44{"message":"x"}'],
    ['an event for another namespace', '42/admin,["x"]'],
    ['an unknown packet kind', '47'],
    ['text where attachments are due', '451-["x",{"_placeholder":true,"num":0}]', '42["x"]'],
    ['a placeholder out of range', '451-["x",{"_placeholder":true,"num":1}]', bytes(1)],
    ['a binary message that nobody announced', bytes(1, 2, 3)],
    ['eleven attachments', '4511-["x",{"_placeholder":true,"num":0}]'],
  ];
  for (const [name, ...messages] of ROWS) {
    test(name, async () => {
      const socket = await openSession(server, token);
      for (const message of messages) socket.send(frame(Buffer.isBuffer(message) ? 2 : 1, message));
      assert.deepEqual(await untilEnd(socket), ['close no code', 'ended']);
    });
  }

  test('an event before CONNECT', async () => {
    const socket = await openSession(server);
    socket.text('42["ping"]');
    assert.deepEqual(await untilEnd(socket), ['close no code', 'ended']);
  });

  test('bad credentials: told, disconnected; the session takes another CONNECT', async () => {
    const socket = await openSession(server);
    socket.text('40{"token":"nonsense"}');
    assert.match(await socket.next(), /^40\{"sid":"/);
    assert.equal(await socket.next(), '42["error",{"message":"Invalid authentication token"}]');
    assert.equal(await socket.next(), '41');
    socket.text(`40${JSON.stringify({ token })}`);
    assert.match(await socket.next(), /^40\{"sid":"/);
    socket.text('421["ping"]');
    assert.equal(await socket.next(), '431[{}]');
  });

  test('events right behind CONNECT are taken', async () => {
    const socket = await openSession(server);
    socket.send(Buffer.concat([text(`40${JSON.stringify({ token })}`), text('421["ping"]')]));
    assert.match(await socket.next(), /^40\{"sid":"/);
    assert.equal(await socket.next(), '431[{}]');
  });

  test('a binary event is reassembled', async () => {
    const socket = await openSession(server, token);
    socket.text('452-9["ping",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
    socket.send(Buffer.concat([frame(2, bytes(1)), frame(2, bytes(2))]));
    assert.equal(await socket.next(), '439[{}]');
  });
});

describe('upgrade', () => {
  const upgradePath = (polling) => `${WEBSOCKET}&sid=${polling.sid}`;

  async function upgraded() {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    socket.text('5');
    socket.text('420["ping"]');
    assert.equal(await socket.next(), '430[{}]');
    return { polling, socket };
  }

  test('probe, noop to the waiting poll, upgrade; polling afterwards is refused', async () => {
    const polling = await Polling.open(http, token);
    const poll = polling.poll();
    const socket = await openSocket(server, upgradePath(polling));
    assert.equal(socket.accepted, true);
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    assert.equal((await poll).text, '6');
    socket.text('5');
    socket.text('420["ping"]');
    assert.equal(await socket.next(), '430[{}]');
    for (const answer of [await polling.poll(), await polling.post('421["ping"]')]) {
      assert.deepEqual([answer.status, JSON.parse(answer.text)], [400, { code: 3, message: 'Bad request' }]);
    }
  });

  test('polls during the probe are ended every 100 ms', async () => {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    for (let i = 0; i < 3; i++) assert.equal((await polling.poll()).text, '6');
  });

  test('what waits is sent over the new transport', async () => {
    const session = await account.session('waiting');
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    for (let i = 1; i <= 3; i++) await account.ask('POST', `/v2/sessions/${session}/messages`, { ciphertext: `waiting ${i}` });
    socket.text('5');
    for (let i = 1; i <= 3; i++) assert.ok((await socket.next()).includes(`"c":"waiting ${i}"`));
  });

  test('what leaves during the probe still leaves through polls', async () => {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    await polling.post('427["ping"]');
    assert.ok((await polling.poll()).text.split(SEPARATOR).includes('437[{}]'));
  });

  test('without a probe', async () => {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('5');
    socket.text('420["ping"]');
    assert.equal(await socket.next(), '430[{}]');
  });

  test('a poll still waiting at the upgrade is answered with 1', async () => {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    const { answer } = await held(server, polling);
    socket.text('5');
    assert.equal((await answer).text, '1');
    socket.text('420["ping"]');
    assert.equal(await socket.next(), '430[{}]');
  });

  for (const [name, packet] of [['a message', '420["ping"]'], ['a plain ping', '2'], ['a pong', '3'], ['nonsense', 'x']]) {
    test(`${name} of the candidate: it is closed, the session goes on`, async () => {
      const polling = await Polling.open(http, token);
      const socket = await openSocket(server, upgradePath(polling));
      socket.text(packet);
      assert.deepEqual(await untilEnd(socket), ['close no code', 'ended']);
      await polling.post('421["ping"]');
      const packets = (await polling.poll()).text.split(SEPARATOR);
      assert.ok(packets.includes('431[{}]'), packets);
      const next = await openSocket(server, upgradePath(polling));
      next.text('2probe');
      assert.equal(await next.next(), '3probe', 'a new candidate may come');
    });
  }

  test('a candidate that goes away leaves the session on polling', async () => {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    socket.destroy();
    await polling.post('421["ping"]');
    let packets = [];
    while (!packets.includes('431[{}]')) packets = (await polling.poll()).text.split(SEPARATOR);
    // Until the server has heard of the end, a second candidate is one too many.
    const next = await until(async () => {
      const candidate = await openSocket(server, upgradePath(polling));
      candidate.text('2probe');
      return (await candidate.next()) === '3probe' && candidate;
    }, 'ready for a new candidate');
    next.text('5');
    next.text('422["ping"]');
    assert.equal(await next.next(), '432[{}]');
  });

  test('a second candidate is closed, the first is not disturbed', async () => {
    const polling = await Polling.open(http, token);
    const first = await openSocket(server, upgradePath(polling));
    const second = await openSocket(server, upgradePath(polling));
    assert.equal(second.accepted, true);
    assert.deepEqual(await untilEnd(second), ['close no code', 'ended']);
    first.text('2probe');
    assert.equal(await first.next(), '3probe');
  });

  test('a further websocket on an upgraded session is closed, the session is not disturbed', async () => {
    const { polling, socket } = await upgraded();
    const late = await openSocket(server, upgradePath(polling));
    assert.deepEqual(await untilEnd(late), ['close no code', 'ended']);
    socket.text('421["ping"]');
    assert.equal(await socket.next(), '431[{}]');
  });

  test('a session opened as websocket is not taken over', async () => {
    const socket = await openSession(server, token);
    const thief = await openSocket(server, `${WEBSOCKET}&sid=${socket.handshake.sid}`);
    thief.text('5');
    await untilEnd(thief);
    assert.equal(thief.closed, true);
    socket.text('421["ping"]');
    assert.equal(await socket.next(), '431[{}]');
  });

  test('a plain request on a websocket session: 400', async () => {
    const socket = await openSession(server, token);
    for (const transport of ['polling', 'websocket']) {
      const answer = await http.request('GET', `${ENDPOINT}?EIO=4&transport=${transport}&sid=${socket.handshake.sid}`);
      assert.deepEqual([answer.status, JSON.parse(answer.text)], [400, { code: 3, message: 'Bad request' }]);
    }
  });

  test('the end of the session closes the candidate, too', async () => {
    const polling = await Polling.open(http, token);
    const socket = await openSocket(server, upgradePath(polling));
    socket.text('2probe');
    assert.equal(await socket.next(), '3probe');
    await polling.post('1');
    assert.deepEqual(await untilEnd(socket), ['close no code', 'ended']);
  });

  test('after the upgrade the session ends as a websocket does', async () => {
    const { polling, socket } = await upgraded();
    socket.send(frame(8, code(1000)));
    assert.deepEqual([await socket.next(), await socket.next()], ['close 1000', 'ended']);
    await forgotten(polling.sid);
  });
});
