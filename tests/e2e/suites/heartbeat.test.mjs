// Timers of a session, shortened: heartbeat, missing CONNECT, missing upgrade. Early is a fault, and so is as late as if
// the setting were not there. A server has a short time only where a test waits for it to pass, so that nobody who stands
// still for a moment is taken for somebody who has gone.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Http, Polling, WEBSOCKET, destroySockets, openSession, openSocket, untilEnd } from '../lib/engineio.mjs';
import { metric } from '../lib/metrics.mjs';
import { Server } from '../lib/server.mjs';
import { delay, until } from '../lib/wait.mjs';

const PING_INTERVAL_MS = 300;
const PING_TIMEOUT_MS = 5_000;
const LONG_INTERVAL_MS = 3_000;
const SILENCE_TIMEOUT_MS = 200;
const CONNECT_TIMEOUT_MS = 1_000;
const UPGRADE_TIMEOUT_MS = 700;
const CLOSE_TIMEOUT_MS = 30_000;
const LATE_MS = 9_000; // a busy machine, and a timer wheel that is coarse; the shortest time without a setting is 10 s
const CLOCKS_MS = 3; // ours starts after the server's

const SETTINGS = {
  pings: { HAPPIER_PING_INTERVAL_MS: PING_INTERVAL_MS, HAPPIER_PING_TIMEOUT_MS: PING_TIMEOUT_MS },
  seldom: { HAPPIER_PING_INTERVAL_MS: LONG_INTERVAL_MS },
  silence: { HAPPIER_PING_INTERVAL_MS: PING_INTERVAL_MS, HAPPIER_PING_TIMEOUT_MS: SILENCE_TIMEOUT_MS },
  connect: { HAPPIER_PING_INTERVAL_MS: PING_INTERVAL_MS, HAPPIER_CONNECT_TIMEOUT_MS: CONNECT_TIMEOUT_MS },
  upgrade: { HAPPIER_UPGRADE_TIMEOUT_MS: UPGRADE_TIMEOUT_MS },
};

/** For each of the settings a server, plain requests to it, and an account there. */
const at = {};
before(async () => {
  const starting = Object.entries(SETTINGS).map(async ([name, settings]) => {
    const texts = Object.fromEntries(Object.entries(settings).map(([setting, ms]) => [setting, String(ms)]));
    const server = await Server.start({ settings: texts, metrics: true });
    at[name] = { server, http: new Http(server), account: await Account.login(server) };
  });
  await Promise.all(starting);
});
after(async () => {
  for (const { server, http } of Object.values(at)) {
    http.close();
    assert.equal((await server.terminate()).code, 0);
  }
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

const connectPacket = ({ token }) => `40${JSON.stringify({ token })}`;

/** A websocket session that asks for the namespace in the same write, so that no timer can come between. */
async function connected({ server, account }) {
  const socket = await openSocket(server, WEBSOCKET, { first: connectPacket(account) });
  assert.match(await socket.next(), /^0\{/);
  assert.match(await socket.next(), /^40\{"sid":"/);
  return socket;
}

/** The next packet that is no ping; pings are answered. */
async function nextButPings(socket) {
  for (;;) {
    const next = await socket.next();
    if (next !== '2') return next;
    socket.text('3');
  }
}

test('the handshake announces what is set', async () => {
  const { handshake } = await Polling.open(at.pings.http);
  assert.deepEqual([handshake.pingInterval, handshake.pingTimeout], [PING_INTERVAL_MS, PING_TIMEOUT_MS]);
});

test('websocket: a ping after each interval, counted from the pong', async () => {
  const start = performance.now();
  const socket = await connected(at.pings);
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
  const socket = await connected(at.silence);
  const chatter = setInterval(() => socket.text('42["unknown"]'), 40);
  const limit = PING_INTERVAL_MS + SILENCE_TIMEOUT_MS;
  const seen = await takes(start, limit, () => untilEnd(socket)).finally(() => clearInterval(chatter));
  assert.deepEqual(seen, ['2', 'close no code', 'ended']);
});

test('websocket: an unasked pong moves the next ping', async () => {
  const socket = await connected(at.seldom);
  await delay(LONG_INTERVAL_MS / 3);
  const pong = performance.now();
  socket.text('3');
  assert.equal(await takes(pong, LONG_INTERVAL_MS, () => socket.next()), '2');
});

test('polling: the ping ends the waiting poll', async () => {
  const start = performance.now();
  const polling = await Polling.open(at.pings.http);
  assert.equal((await takes(start, PING_INTERVAL_MS, () => polling.poll())).text, '2');
  await polling.post('3');
  assert.equal((await polling.poll()).text, '2');
});

test('polling: no pong, and the session is unknown at exactly interval + timeout', async () => {
  const start = performance.now();
  const polling = await Polling.open(at.silence.http);
  const answer = await takes(start, PING_INTERVAL_MS + SILENCE_TIMEOUT_MS, async () => {
    for (;;) {
      const poll = await polling.poll(); // held until the ping, then until the end of the session
      if (poll.status !== 200) return poll;
      assert.match(poll.text, /^(2|1|2\u001e1)$/);
    }
  });
  assert.deepEqual([answer.status, JSON.parse(answer.text)], [400, { code: 1, message: 'Session ID unknown' }]);
});

test('polling: nobody polls, and the session ends all the same', async () => {
  const { server, http, account } = at.silence;
  const polling = await Polling.open(http, account.token);
  await until(async () => (await metric(server, 'websocket_connections_total')) === 0, 'ended');
  assert.equal((await polling.poll()).status, 400);
});

test('pings go on after a DISCONNECT of the namespace', async () => {
  const socket = await connected(at.pings);
  socket.text('41');
  assert.equal(await socket.next(), '2');
  socket.text('3');
  assert.equal(await socket.next(), '2');
});

test('nobody connects to the namespace: closed after the connect timeout', async () => {
  const start = performance.now();
  const socket = await openSession(at.connect.server);
  assert.equal(await takes(start, CONNECT_TIMEOUT_MS, () => nextButPings(socket)), 'close no code');
});

test('a refused namespace does not stop the connect timeout', async () => {
  const start = performance.now();
  const socket = await openSocket(at.connect.server, WEBSOCKET, { first: '40/admin,' });
  assert.match(await socket.next(), /^0\{/);
  assert.equal(await socket.next(), '44/admin,{"message":"Invalid namespace"}');
  assert.equal(await takes(start, CONNECT_TIMEOUT_MS, () => nextButPings(socket)), 'close no code');
});

test('after a DISCONNECT there is no connect timeout', async () => {
  const socket = await connected(at.connect);
  socket.text('41');
  const end = performance.now() + 2 * CONNECT_TIMEOUT_MS;
  while (performance.now() < end) {
    assert.equal(await socket.next(), '2');
    socket.text('3');
  }
  socket.text(connectPacket(at.connect.account));
  assert.match(await nextButPings(socket), /^40\{"sid":"/);
});

test('a candidate that never upgrades is closed, the session goes on', async () => {
  const { server, http, account } = at.upgrade;
  const polling = await Polling.open(http, account.token);
  const start = performance.now();
  const socket = await openSocket(server, `${WEBSOCKET}&sid=${polling.sid}`, { first: '2probe' });
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
  const { server, http, account } = at.upgrade;
  const polling = await Polling.open(http, account.token);
  const start = performance.now();
  const candidate = await openSocket(server, `${WEBSOCKET}&sid=${polling.sid}`);
  const silent = await connected(at.silence);
  assert.equal(await candidate.next(), 'close no code');
  assert.deepEqual([await silent.next(), await silent.next()], ['2', 'close no code']);
  const dropped = (socket) => socket.until(() => socket.closed);
  await Promise.all([
    takes(start, UPGRADE_TIMEOUT_MS + CLOSE_TIMEOUT_MS, () => dropped(candidate)),
    takes(start, PING_INTERVAL_MS + SILENCE_TIMEOUT_MS + CLOSE_TIMEOUT_MS, () => dropped(silent)),
  ]);
  assert.deepEqual([candidate.closed, silent.closed], [true, true]);
});

test('clients keep their connection over many heartbeats', async () => {
  const ways = [['websocket'], ['polling'], ['polling', 'websocket']];
  const devices = await Promise.all(ways.map((transports) => at.pings.account.device({ transports }).ready()));
  const enough = 2 * Math.ceil(PING_TIMEOUT_MS / PING_INTERVAL_MS); // more than a timeout that no pong moves would allow
  await Promise.all(devices.map(async ({ socket, disconnects }) => {
    let pings = 0;
    socket.io.engine.on('ping', () => (pings += 1));
    await until(() => pings >= enough || disconnects.length > 0, 'pinged');
  }));
  for (const device of devices) {
    assert.deepEqual(device.disconnects, []);
    assert.deepEqual(await device.fence(), {});
  }
});
