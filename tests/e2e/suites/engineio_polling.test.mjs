// engine.io over polling: handshake, polls, posts, and how a session ends.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Account } from '../lib/client.mjs';
import { ENDPOINT, Http, POLLING, Polling, SEPARATOR, WEBSOCKET, delivered, held } from '../lib/engineio.mjs';
import { Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const UNKNOWN = { code: 1, message: 'Session ID unknown' };
const MILLION = 1_000_000;

let server;
let http;
let token;
before(async () => {
  server = await Server.start();
  http = new Http(server);
  ({ token } = await Account.login(server));
});
after(async () => {
  http.close();
  assert.equal((await server.terminate()).code, 0);
});

async function assertGone(polling) {
  const answer = await polling.poll();
  assert.deepEqual([answer.status, JSON.parse(answer.text)], [400, UNKNOWN]);
}

const postHead = (polling, length) => `POST ${polling.url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: ${length}\r\n\r\n`;

describe('checks, in their order', () => {
  const ROWS = [
    ['GET', '', 0, 'Transport unknown'],
    ['GET', '?EIO=4', 0, 'Transport unknown'],
    ['GET', '?EIO=4&transport=', 0, 'Transport unknown'],
    ['GET', '?EIO=4&transport=carrier-pigeon', 0, 'Transport unknown'],
    ['GET', '?EIO=4&transport=webtransport', 0, 'Transport unknown'],
    ['GET', '?EIO=4&transport=constructor', 0, 'Transport unknown'],
    ['POST', '?EIO=3&transport=nothing&sid=unknown', 0, 'Transport unknown'],
    ['GET', '?EIO=4&transport=polling&sid=unknown', 1, 'Session ID unknown'],
    ['POST', '?EIO=4&transport=polling&sid=unknown', 1, 'Session ID unknown'],
    ['PUT', '?EIO=3&transport=polling&sid=unknown', 1, 'Session ID unknown'],
    ['GET', '?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA', 1, 'Session ID unknown'],
    ['GET', '?EIO=4&transport=websocket&sid=unknown', 1, 'Session ID unknown'],
    ['POST', '?EIO=4&transport=polling', 2, 'Bad handshake method'],
    ['POST', '?EIO=4&transport=polling&sid=', 2, 'Bad handshake method'],
    ['PUT', '?EIO=3&transport=websocket', 2, 'Bad handshake method'],
    ['GET', '?EIO=4&transport=websocket', 3, 'Bad request'],
    ['GET', '?EIO=3&transport=websocket', 3, 'Bad request'],
    ['GET', '?EIO=3&transport=polling', 5, 'Unsupported protocol version'],
    ['GET', '?EIO=44&transport=polling', 5, 'Unsupported protocol version'],
    ['GET', '?transport=polling', 5, 'Unsupported protocol version'],
    ['GET', '?EIO=4&EIO=3&transport=polling', 5, 'Unsupported protocol version'],
    ['GET', '?EIO=4&transport=polling&transport=pigeon', 0, 'Transport unknown'],
  ];
  for (const [method, query, code, message] of ROWS) {
    test(`${method} ${query || 'without query'}: ${code} ${message}`, async () => {
      const body = method === 'GET' ? null : '';
      const answer = await http.request(method, ENDPOINT + query, body);
      assert.equal(answer.status, 400);
      assert.deepEqual(JSON.parse(answer.text), { code, message });
      assert.match(answer.headers['content-type'], /^application\/json/);
      assert.equal(answer.headers['access-control-allow-origin'], '*');
      assert.equal(answer.headers['access-control-allow-credentials'], 'true');
      assert.equal(answer.headers['cache-control'], undefined);
    });
  }

  test('the last value of a repeated name counts', async () => {
    assert.equal((await http.request('GET', `${ENDPOINT}?EIO=3&transport=pigeon&EIO=4&transport=polling`)).status, 200);
  });

  test('percent-encoded values and unknown names', async () => {
    assert.equal((await http.request('GET', `${ENDPOINT}?EIO=%34&transport=poll%69ng&t=abc&x`)).status, 200);
  });

  test('without the slash it is an unknown route', async () => {
    const answer = await http.request('GET', '/v1/updates?EIO=4&transport=polling');
    assert.equal(answer.status, 404);
    assert.equal(JSON.parse(answer.text).error, 'Not found');
  });

  for (const headers of [{}, { Origin: 'https://app.example', 'Access-Control-Request-Method': 'POST' }]) {
    test(`OPTIONS ${Object.keys(headers).length > 0 ? 'as a preflight' : 'alone'}: 204 before any other check`, async () => {
      const answer = await http.request('OPTIONS', ENDPOINT, null, headers);
      assert.deepEqual([answer.status, answer.text], [204, '']);
      assert.equal(answer.headers['access-control-allow-origin'], '*');
      assert.equal(answer.headers['access-control-allow-credentials'], 'true');
      assert.equal(answer.headers['access-control-allow-methods'], 'GET,POST,OPTIONS');
      assert.equal(answer.headers['access-control-allow-headers'], '*');
    });
  }
});

describe('a session', () => {
  test('the handshake has exactly five members', async () => {
    const answer = await http.request('GET', POLLING);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'text/plain; charset=UTF-8');
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(answer.text[0], '0');
    const { sid, ...members } = JSON.parse(answer.text.slice(1));
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(members, { upgrades: ['websocket'], pingInterval: 15_000, pingTimeout: 45_000, maxPayload: MILLION });
  });

  test('session ids do not repeat, and the socket has one of its own', async () => {
    const sids = await Promise.all(Array.from({ length: 50 }, () => Polling.open(http).then((polling) => polling.sid)));
    assert.equal(new Set(sids).size, sids.length);
    const polling = await Polling.open(http, token);
    const { sid } = JSON.parse(polling.connected.slice(2));
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.notEqual(sid, polling.sid);
  });

  test('a POST is answered ok, a poll gets all that waits in one payload', async () => {
    const polling = await Polling.open(http, token);
    const answer = await polling.post(['420["ping"]', '421["ping"]', '422["ping"]'].join(SEPARATOR));
    assert.deepEqual([answer.status, answer.text, answer.headers['content-type'], answer.headers['cache-control']], [200, 'ok', 'text/html', 'no-store']);
    const packets = [];
    while (packets.length < 3) packets.push(...(await polling.poll()).text.split(SEPARATOR));
    assert.deepEqual(packets, ['430[{}]', '431[{}]', '432[{}]']);
  });

  test('a poll is held until there is something to say', async () => {
    const polling = await Polling.open(http, token);
    const { answer } = await held(server, polling);
    await polling.post('425["ping"]');
    assert.equal((await answer).text, '435[{}]');
  });

  test('binary messages travel as base64', async () => {
    const polling = await Polling.open(http, token);
    await polling.post(['451-7["ping",{"_placeholder":true,"num":0}]', 'bAQID'].join(SEPARATOR));
    assert.equal((await polling.poll()).text, '437[{}]');
  });

  test('several requests on one connection, pipelined', async () => {
    const polling = await Polling.open(http, token);
    const post = `${postHead(polling, 11)}420["ping"]`;
    const { answers } = await http.raw(`${post}GET ${polling.url} HTTP/1.1\r\nHost: localhost\r\n\r\n`, { responses: 2 });
    assert.deepEqual(answers.map((a) => a.text), ['ok', '430[{}]']);
  });
});

describe('misuse', () => {
  test('two polls at once: the first is told the end, the second refused', async () => {
    const polling = await Polling.open(http, token);
    const { answer } = await held(server, polling);
    const second = await polling.poll();
    const first = await answer;
    assert.deepEqual([first.status, first.text], [200, '1']);
    assert.deepEqual([second.status, second.text], [400, '']);
    await assertGone(polling);
  });

  test('a poll that is dropped ends the session', async () => {
    const polling = await Polling.open(http, token);
    const { socket } = await held(server, polling);
    assert.equal(socket.received, '');
    socket.destroy();
    // Not by polling: a poll before the server has noticed would be a second poll.
    await until(async () => (await polling.post('3')).status === 400, 'gone');
    await assertGone(polling);
  });

  test('a body of exactly a million bytes is taken, one more is refused, and the session lives on', async () => {
    const polling = await Polling.open(http, token);
    const head = '42["unknown","';
    const exact = await polling.post(`${head}${'x'.repeat(MILLION - head.length - 2)}"]`);
    assert.deepEqual([exact.status, exact.text], [200, 'ok']);
    const over = await polling.post(`${head}${'x'.repeat(MILLION - head.length - 1)}"]`);
    assert.deepEqual([over.status, over.text], [413, '']);
    await polling.post('421["ping"]');
    assert.equal((await polling.poll()).text, '431[{}]');
  });

  test('the same limit for chunked bodies', async () => {
    const polling = await Polling.open(http, token);
    const chunk = `${(100_000).toString(16)}\r\n${'x'.repeat(100_000)}\r\n`;
    const { answers } = await http.raw(`POST ${polling.url} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(11)}0\r\n\r\n`);
    assert.deepEqual([answers[0].status, answers[0].text], [413, '']);
    await polling.post('421["ping"]');
    assert.equal((await polling.poll()).text, '431[{}]');
  });

  test('a binary body: 400 and the end', async () => {
    const polling = await Polling.open(http, token);
    const answer = await polling.post('420["ping"]', { 'Content-Type': 'application/octet-stream' });
    assert.deepEqual([answer.status, answer.text], [400, '']);
    await assertGone(polling);
  });

  test('a second POST while one is being received: refused, and the end', async () => {
    const polling = await Polling.open(http, token);
    const first = await delivered(server, `${postHead(polling, 100)}420[`);
    const second = await polling.post('421["ping"]');
    assert.deepEqual([second.status, second.text], [400, '']);
    await until(() => first.over, 'the first connection dropped');
    await assertGone(polling);
  });

  test('a POST that breaks off ends the session', async () => {
    const polling = await Polling.open(http, token);
    const broken = await delivered(server, `${postHead(polling, 100)}420[`);
    broken.destroy();
    await until(async () => (await polling.poll()).status === 400, 'gone');
    await assertGone(polling);
  });

  test('a close packet ends the session, what follows it is ignored', async () => {
    const polling = await Polling.open(http, token);
    const { answer } = await held(server, polling);
    const post = await polling.post(['1', '420["ping"]'].join(SEPARATOR));
    assert.deepEqual([post.status, post.text], [200, 'ok']);
    assert.equal((await answer).text, '6');
    await assertGone(polling);
  });

  for (const method of ['PUT', 'DELETE', 'PATCH']) {
    test(`${method} with a live session: 500 without body`, async () => {
      const polling = await Polling.open(http, token);
      const answer = await http.request(method, polling.url, '');
      assert.deepEqual([answer.status, answer.text], [500, '']);
    });
  }

  test('the other transport without an upgrade: 400', async () => {
    const polling = await Polling.open(http, token);
    const answer = await http.request('GET', `${WEBSOCKET}&sid=${polling.sid}`);
    assert.deepEqual([answer.status, JSON.parse(answer.text)], [400, { code: 3, message: 'Bad request' }]);
  });

  const VIOLATIONS = [
    ['an empty body', '', 'parse error'],
    ['an unknown packet type', 'x', 'parse error'],
    ['a packet behind nothing', `${SEPARATOR}420["ping"]`, 'parse error'],
    ['a ping of the client', '2', 'transport error'],
    ['a message without data', '4', 'violation'],
    ['JSON that is none', '42["ping"', 'violation'],
    ['an event without a name', '42[]', 'violation'],
    ['an event that is no array', '42{}', 'violation'],
    ['a reserved name', '42["disconnect"]', 'violation'],
    ['CONNECT a second time', '40', 'violation'],
    ['CONNECT_ERROR', '44{"message":"x"}', 'violation'],
    ['an event for another namespace', '42/admin,["x"]', 'violation'],
    ['DISCONNECT of another namespace', '41/admin', 'violation'],
    ['an ack for another namespace', '43/admin,1[]', 'violation'],
    ['an unknown packet kind', '49', 'violation'],
    ['a binary message that nobody announced', 'bAQID', 'violation'],
    ['text where attachments are due', `451-["x",{"_placeholder":true,"num":0}]${SEPARATOR}42["x"]`, 'violation'],
    ['eleven attachments', '4511-["x",{"_placeholder":true,"num":0}]', 'violation'],
  ];
  for (const [name, payload] of VIOLATIONS) {
    test(`${name}: 200 ok, the waiting poll is told the end`, async () => {
      const polling = await Polling.open(http, token);
      const { answer } = await held(server, polling);
      const post = await polling.post(payload);
      assert.deepEqual([post.status, post.text], [200, 'ok']);
      const last = await answer;
      assert.deepEqual([last.status, last.text], [200, '1']);
      await assertGone(polling);
    });
  }

  test('a violation of the protocol above, with no poll waiting: an orderly end', async () => {
    const polling = await Polling.open(http, token);
    await polling.post('421["ping"]');
    await polling.post('42[]');
    const packets = [];
    let status = 200;
    while (status === 200) {
      const answer = await polling.poll();
      status = answer.status;
      if (status === 200) packets.push(answer.text);
      assert.ok(packets.length <= 2, JSON.stringify(packets));
    }
    assert.deepEqual(packets, ['431[{}]', `6${SEPARATOR}1`]);
  });

  test('an event before CONNECT', async () => {
    const polling = await Polling.open(http);
    const { answer } = await held(server, polling);
    await polling.post('420["ping"]');
    assert.equal((await answer).text, '1');
    await assertGone(polling);
  });
});

describe('namespaces', () => {
  test('another one is refused, with or without a comma, and the session lives on', async () => {
    const polling = await Polling.open(http, token);
    for (const connect of ['40/admin,', '40/admin', '40/admin,{"token":"x"}']) {
      await polling.post(connect);
      assert.equal((await polling.poll()).text, '44/admin,{"message":"Invalid namespace"}');
    }
    await polling.post('40/?x=1,');
    assert.equal((await polling.poll()).text, '44/?x=1,{"message":"Invalid namespace"}');
    await polling.post('420["ping"]');
    assert.equal((await polling.poll()).text, '430[{}]');
  });

  test('DISCONNECT, then CONNECT: a new socket on the same session', async () => {
    const polling = await Polling.open(http, token);
    await polling.post('41');
    await polling.post(`40${JSON.stringify({ token })}`);
    const again = (await polling.poll()).text;
    assert.match(again, /^40\{"sid":"/);
    assert.notEqual(again, polling.connected);
  });

  test('events right behind CONNECT are taken', async () => {
    const polling = await Polling.open(http);
    await polling.post([`40${JSON.stringify({ token })}`, '420["ping"]'].join(SEPARATOR));
    const packets = [];
    while (packets.length < 2) packets.push(...(await polling.poll()).text.split(SEPARATOR));
    assert.match(packets[0], /^40\{"sid":"/);
    assert.equal(packets[1], '430[{}]');
  });

  test('large and odd ack ids come back as they are', async () => {
    const polling = await Polling.open(http, token);
    for (const id of ['0', '9007199254740991']) {
      await polling.post(`42${id}["ping"]`);
      assert.equal((await polling.poll()).text, `43${id}[{}]`);
    }
  });
});
