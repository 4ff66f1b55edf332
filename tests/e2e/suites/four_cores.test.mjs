// Four cores: connections that change their core, accounts whose devices are spread, and what is left when all are gone.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Http, Polling, destroySockets, frame, openSession, openSocket } from '../lib/engineio.mjs';
import { metric as metricOf } from '../lib/metrics.mjs';
import { SHUTDOWN_LIMIT_MS, Server } from '../lib/server.mjs';
import { delay, until } from '../lib/wait.mjs';

const ACCOUNTS = 8; // at home on all four cores, all but surely
const SETTINGS = { HAPPIER_CORES: '4' };

let server;
let accounts;

const start = () => Server.start({ settings: SETTINGS, metrics: true });
const metric = (name) => metricOf(server, name);

before(async () => {
  server = await start();
  accounts = await Promise.all(Array.from({ length: ACCOUNTS }, () => Account.login(server)));
});
after(async () => {
  assert.equal((await server.terminate()).code, 0);
});
afterEach(() => {
  closeDevices();
  destroySockets();
});

/** Nobody is connected any more, but for the request that asks and what a client library keeps open. */
async function untilNobodyIsLeft() {
  await until(async () => (await metric('websocket_connections_total')) === 0, 'without sockets');
  await until(async () => (await metric('happier_connections')) <= KEPT_ALIVE, 'without connections');
  await until(async () => (await metric('happier_outbox_bytes')) === 0, 'without bytes that wait');
}
const KEPT_ALIVE = 1 + ACCOUNTS;

const connectFrame = ({ token }) => frame(1, `40${JSON.stringify({ token })}`);
const residentKiB = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8'))[1]);

const openDescriptors = () => readdirSync(`/proc/${server.child.pid}/fd`).length;

async function inParallel(workers, jobs, action) {
  let next = 0;
  const work = async () => {
    while (next < jobs) await action(next++);
  };
  await Promise.all(Array.from({ length: workers }, work));
}

/** One life of a connection; each way to live and to die in turn. */
async function live(n) {
  const account = accounts[n % ACCOUNTS];
  if (n % 2 === 0) {
    const socket = await openSession(server, account.token);
    socket.text('420["ping"]');
    assert.equal(await socket.next(), '430[{}]');
    if (n % 4 === 0) {
      socket.send(frame(8, Buffer.alloc(0)));
      assert.match(await socket.next(), /^close/);
    }
    return socket.destroy();
  }
  const http = new Http(server);
  const polling = await Polling.open(http, account.token);
  await polling.post('420["ping"]');
  assert.equal((await polling.poll()).text, '430[{}]');
  if (n % 4 === 1) {
    await polling.post('1');
  } else {
    const held = polling.poll().catch(() => null);
    await delay(1);
    http.close();
    return held;
  }
  return http.close();
}

test('ten thousand connections come and go, and nothing is left of them', async () => {
  await inParallel(20, 2_000, live);
  await untilNobodyIsLeft();
  const [memory, descriptors] = [residentKiB(), openDescriptors()];
  await inParallel(20, 10_000, live);
  await untilNobodyIsLeft();
  await until(() => openDescriptors() <= descriptors, `without descriptors beyond the ${descriptors} from before`);
  const grown = residentKiB() - memory;
  assert.ok(grown < 6 * 1024, `ten thousand more left ${grown} KiB behind`);
});

test('clients that leave in the middle of their move', async () => {
  await inParallel(10, 300, async (n) => {
    const socket = await openSocket(server);
    await socket.next();
    socket.send(connectFrame(accounts[n % ACCOUNTS]));
    if (n % 3 === 0) socket.send(frame(8, Buffer.alloc(0)));
    if (n % 3 === 1) await delay(n % 5);
    socket.destroy();
  });
  await untilNobodyIsLeft();
});

test('events directly behind CONNECT are answered, whether or not the connection moves (R-2, S-14)', async () => {
  for (const account of [...accounts, ...accounts]) {
    const socket = await openSocket(server);
    await socket.next();
    const large = frame(1, `42["unknown","${'x'.repeat(150_000)}"]`);
    const last = frame(1, '421["ping"]');
    socket.send(Buffer.concat([connectFrame(account), frame(1, '420["ping"]'), large, last.subarray(0, 5)]));
    assert.match(await socket.next(), /^40\{"sid":"/);
    assert.equal(await socket.next(), '430[{}]');
    socket.send(last.subarray(5));
    assert.equal(await socket.next(), '431[{}]');
    socket.destroy();
  }
});

test('events directly behind CONNECT in one POST are answered', async () => {
  for (const account of accounts) {
    const http = new Http(server);
    const polling = await Polling.open(http);
    await polling.post(`40${JSON.stringify({ token: account.token })}\u001e420["ping"]`);
    let seen = '';
    while (!seen.endsWith('430[{}]')) seen += (await polling.poll()).text;
    assert.match(seen, /^40\{"sid":"[^"]+"\}\u001e?430\[\{\}\]$/);
    await polling.post('1');
    http.close();
  }
});

test('one session is a connection of one account after the other', async () => {
  const socket = await openSocket(server);
  await socket.next();
  for (const account of [...accounts, ...accounts]) {
    socket.send(connectFrame(account));
    assert.match(await socket.next(), /^40\{"sid":"/);
    const session = await account.session();
    assert.match(await socket.next(), new RegExp(`^42\\["update",.*${session}`));
    socket.send(Buffer.concat([frame(1, '420["ping"]'), frame(1, '41')]));
    assert.equal(await socket.next(), '430[{}]');
  }
  socket.destroy();
  await untilNobodyIsLeft();
});

test('devices of one account on all cores and both transports hear everything once and in order', async () => {
  const [account] = accounts;
  const session = await account.session();
  const ways = [['websocket'], ['polling'], ['polling', 'websocket']];
  const devices = Array.from({ length: 18 }, (_, n) =>
    account.device({ transports: ways[n % 3], ...(n % 2 ? { session } : {}) }),
  );
  await Promise.all(devices.map((device) => device.ready()));
  let over = false;
  const comeAndGo = inParallel(6, Infinity, async (n) => {
    if (over) return Promise.reject(new Error('over'));
    const device = await account.device({ transports: ways[n % 3] }).ready();
    device.close();
    return null;
  }).catch((error) => assert.equal(error.message, 'over'));
  const senders = [account.device({ session }), account.device({ transports: ['polling'] })];
  await Promise.all(senders.map((device) => device.ready()));
  // From its first update on, the home of the account knows which cursor is next.
  await senders[0].send(session, 'first');
  await Promise.all(devices.map((device) => until(() => device.texts.length === 1, 'told of the first')));
  for (const device of devices) device.updates.length = 0;
  const texts = Array.from({ length: 120 }, (_, n) => `text ${n}`);
  for (const [n, text] of texts.entries()) {
    const sent = senders[n % 2].send(session, text);
    if (n % 6 === 5) await sent;
    else sent.catch(() => {});
  }
  await Promise.all(devices.map((device) => until(() => device.texts.length >= texts.length, 'told of all')));
  over = true;
  await comeAndGo;
  await Promise.all(devices.map((device) => device.fence()));
  const [first] = devices;
  assert.deepEqual(first.texts.toSorted(), texts.toSorted());
  for (const device of devices) {
    assert.deepEqual(device.texts, first.texts, 'the same order for everybody');
    const cursors = device.updates.map((update) => update.seq);
    assert.ok(cursors.every((seq, n) => n === 0 || seq > cursors[n - 1]), `cursors rise: ${cursors}`);
  }
});

test('a message that is too large is counted, and so is where the cores run', async () => {
  const socket = await openSession(server, accounts[0].token);
  const before = await metric('happier_socket_payloads_refused_total');
  socket.send(frame(1, 'x'.repeat(1_000_001)));
  assert.match(await socket.next(), /^close 1009/);
  assert.equal(await metric('happier_socket_payloads_refused_total'), before + 1);
  assert.equal(await metric('happier_io_driver'), 1);
  assert.ok((await metric('happier_turn_seconds_count')) > 0);
  assert.equal(await metric('happier_mailbox_depth'), 0);
});

test('an orderly end in the middle of connections that move', async () => {
  const other = await start();
  const account = await Account.login(other);
  let over = false;
  const storm = inParallel(20, Infinity, async () => {
    if (over) throw new Error('over');
    try {
      const socket = await openSocket(other);
      await socket.next();
      socket.send(connectFrame(account));
      await socket.next();
    } catch {
      await delay(2); // refused by a server that ends
    }
  }).catch((error) => assert.equal(error.message, 'over'));
  await delay(300);
  const ended = await other.terminate();
  over = true;
  await storm;
  assert.equal(ended.code, 0);
  assert.ok(ended.ms < SHUTDOWN_LIMIT_MS, `took ${ended.ms} ms`);
});
