// Timers of a session, shortened: heartbeat, missing CONNECT, missing upgrade. Late is allowed a little, early never.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Http, Polling, WEBSOCKET, destroySockets, openSession, openSocket, untilEnd } from '../lib/engineio.mjs';
import { Server } from '../lib/server.mjs';
import { delay } from '../lib/wait.mjs';

const PING_INTERVAL_MS = 300;
const PING_TIMEOUT_MS = 200;
const CONNECT_TIMEOUT_MS = 1_000;
const UPGRADE_TIMEOUT_MS = 700;
const CLOSE_TIMEOUT_MS = 30_000;
const LATE_MS = 700; // a busy machine, and a timer wheel that is coarse
const CLOCKS_MS = 3; // ours starts after the server's

let server;
let http;
let token;
let account;
before(async () => {
  server = await Server.start({
    settings: {
      HAPPIER_PING_INTERVAL_MS: String(PING_INTERVAL_MS),
      HAPPIER_PING_TIMEOUT_MS: String(PING_TIMEOUT_MS),
      HAPPIER_CONNECT_TIMEOUT_MS: String(CONNECT_TIMEOUT_MS),
      HAPPIER_UPGRADE_TIMEOUT_MS: String(UPGRADE_TIMEOUT_MS),
    },
  });
  http = new Http(server);
  account = await Account.login(server);
  ({ token } = account);
});
after(async () => {
  http.close();
  assert.equal((await server.terminate()).code, 0);
});
afterEach(() => {
  closeDevices();
  destroySockets();
});

/** `action` takes at least `least` ms since `since`, and not much more. */
async function takes(since, least, action) {
  const result = await action();
  const ms = performance.now() - since;
  assert.ok(ms >= least - CLOCKS_MS, `${least} ms were due, it took ${ms}`);
  assert.ok(ms <= least + LATE_MS, `${least} ms were due, it took ${ms}`);
  return result;
}

test('the handshake announces what is set', async () => {
  const { handshake } = await Polling.open(http);
  assert.deepEqual([handshake.pingInterval, handshake.pingTimeout], [PING_INTERVAL_MS, PING_TIMEOUT_MS]);
});

test('websocket: a ping after each interval, counted from the pong', async () => {
  const start = performance.now();
  const socket = await openSession(server, token);
  assert.equal(await takes(start, PING_INTERVAL_MS, () => socket.next()), '2');
  for (let i = 0; i < 3; i++) {
    await delay(50);
    const pong = performance.now();
    socket.text('3');
    assert.equal(await takes(pong, PING_INTERVAL_MS, () => socket.next()), '2');
  }
});

test('websocket: no pong, closed after the timeout, whatever else is sent', async () => {
  const start = performance.now();
  const socket = await openSession(server, token);
  assert.equal(await socket.next(), '2');
  const chatter = setInterval(() => socket.text('42["unknown"]'), 40);
  const seen = await takes(start, PING_INTERVAL_MS + PING_TIMEOUT_MS, () => untilEnd(socket)).finally(() => clearInterval(chatter));
  assert.deepEqual(seen, ['close no code', 'ended']);
});

test('websocket: an unasked pong moves the next ping', async () => {
  const socket = await openSession(server, token);
  await delay(200);
  const pong = performance.now();
  socket.text('3');
  assert.equal(await takes(pong, PING_INTERVAL_MS, () => socket.next()), '2');
});

test('polling: the ping ends the waiting poll', async () => {
  const start = performance.now();
  const polling = await Polling.open(http, token);
  assert.equal((await takes(start, PING_INTERVAL_MS, () => polling.poll())).text, '2');
  await polling.post('3');
  assert.equal((await polling.poll()).text, '2');
});

test('polling: no pong, and the session is unknown at exactly interval + timeout', async () => {
  const polling = await Polling.open(http, token);
  const limit = PING_INTERVAL_MS + PING_TIMEOUT_MS;
  assert.equal((await polling.poll()).text, '2');
  const answer = await takes(polling.opened, limit - 50, async () => {
    for (;;) {
      const poll = await polling.poll(); // held until the end of the session
      if (poll.status !== 200 || poll.text !== '1') return poll;
    }
  });
  assert.deepEqual([answer.status, JSON.parse(answer.text)], [400, { code: 1, message: 'Session ID unknown' }]);
});

test('polling: nobody polls, and the session ends all the same', async () => {
  const polling = await Polling.open(http);
  await delay(PING_INTERVAL_MS + PING_TIMEOUT_MS + LATE_MS);
  assert.equal((await polling.poll()).status, 400);
});

test('pings go on after a DISCONNECT of the namespace', async () => {
  const socket = await openSession(server, token);
  socket.text('41');
  assert.equal(await socket.next(), '2');
  socket.text('3');
  assert.equal(await socket.next(), '2');
});

test('nobody connects to the namespace: closed after the connect timeout', async () => {
  const start = performance.now();
  const socket = await openSession(server);
  const seen = await takes(start, CONNECT_TIMEOUT_MS, async () => {
    for (;;) {
      const next = await socket.next();
      if (next !== '2') return next;
      socket.text('3');
    }
  });
  assert.equal(seen, 'close no code');
});

test('a refused namespace does not stop the connect timeout', async () => {
  const start = performance.now();
  const socket = await openSession(server);
  socket.text('40/admin,');
  assert.equal(await socket.next(), '44/admin,{"message":"Invalid namespace"}');
  const seen = await takes(start, CONNECT_TIMEOUT_MS, async () => {
    for (;;) {
      const next = await socket.next();
      if (next !== '2') return next;
      socket.text('3');
    }
  });
  assert.equal(seen, 'close no code');
});

test('after a DISCONNECT there is no connect timeout', async () => {
  const socket = await openSession(server, token);
  socket.text('41');
  const until = performance.now() + CONNECT_TIMEOUT_MS + LATE_MS;
  while (performance.now() < until) {
    assert.equal(await socket.next(), '2');
    socket.text('3');
  }
  socket.text(`40${JSON.stringify({ token })}`);
  assert.match(await socket.next(), /^40\{"sid":"/);
});

test('a candidate that never upgrades is closed, the session goes on', async () => {
  const polling = await Polling.open(http, token);
  const start = performance.now();
  const socket = await openSocket(server, `${WEBSOCKET}&sid=${polling.sid}`);
  socket.text('2probe');
  assert.equal(await socket.next(), '3probe');
  const packets = [];
  const polls = (async () => {
    while (!socket.closed) {
      const answer = await polling.poll();
      assert.equal(answer.status, 200);
      packets.push(answer.text);
      if (answer.text.includes('2')) await polling.post('3');
    }
  })();
  assert.deepEqual(await takes(start, UPGRADE_TIMEOUT_MS, () => untilEnd(socket)), ['close no code', 'ended']);
  await polling.post('421["ping"]');
  await polls;
  if (!packets.some((packet) => packet.includes('431[{}]'))) assert.match((await polling.poll()).text, /431\[\{\}\]/);
});

test('who does not answer a close frame is dropped after half a minute', async () => {
  const polling = await Polling.open(http, token);
  const candidate = await openSocket(server, `${WEBSOCKET}&sid=${polling.sid}`);
  assert.equal(await candidate.next(), 'close no code');
  const silent = await openSession(server, token);
  assert.deepEqual([await silent.next(), await silent.next()], ['2', 'close no code']);
  const closed = performance.now();
  await takes(closed, CLOSE_TIMEOUT_MS - UPGRADE_TIMEOUT_MS, () => candidate.until(() => candidate.closed, CLOSE_TIMEOUT_MS + LATE_MS));
  await takes(closed, CLOSE_TIMEOUT_MS, () => silent.until(() => silent.closed, CLOSE_TIMEOUT_MS + LATE_MS));
  assert.deepEqual([candidate.closed, silent.closed], [true, true]);
});

test('clients keep their connection over many heartbeats', async () => {
  const devices = await Promise.all([['websocket'], ['polling'], ['polling', 'websocket']].map((transports) => account.device({ transports }).ready()));
  await delay(5 * (PING_INTERVAL_MS + PING_TIMEOUT_MS));
  for (const device of devices) {
    assert.deepEqual(device.disconnects, []);
    assert.deepEqual(await device.fence(), {});
  }
});
