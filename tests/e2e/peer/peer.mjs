// A replica made of the reference stack: socket.io behind the Redis streams adapter, with the rooms, the calls and the
// registry of the contract, and with one Redis connection for everything. It stores nothing and believes every token; a
// test tells it over IPC what to emit and asks what it sees. What the adapter says beyond its everyday lines is kept.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { format, stripVTControlCharacters } from 'node:util';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';

const CALL_TIMEOUT_MS = 30_000;
const REGISTRATION_S = 120;
const REFRESH_MS = 60_000;
const EVERYDAY = /reading entry|publishing|ignore message from self|new event of type|sending (message|response)|received (response|acknowledgement)|waiting for \d+ client acknowledgements|calling fetchSockets/;
const DELETE_IF_HELD = `if redis.call('HGET', KEYS[1], 'socketId') == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;
const REFRESH_IF_HELD = `if redis.call('HGET', KEYS[1], 'socketId') ~= ARGV[1] then return 0 end
  redis.call('HSET', KEYS[1], 'updatedAt', ARGV[2], 'instanceId', ARGV[3]) return redis.call('EXPIRE', KEYS[1], ARGV[4])`;

const { REDIS_URL, HAPPY_INSTANCE_ID: instanceId = randomUUID() } = process.env;
const complaints = [];
let hasRead = false;
listenToAdapters();

const redis = new Redis(REDIS_URL);
redis.on('error', (error) => complaints.push(`redis: ${error.message}`));
await redis.ping();

const http = createServer();
const io = new Server(http, {
  adapter: createAdapter(redis),
  path: '/v1/updates',
  cors: { origin: '*', credentials: true, methods: ['GET', 'POST', 'OPTIONS'], allowedHeaders: ['*'] },
  transports: ['websocket', 'polling'],
  pingInterval: 15_000,
  pingTimeout: 45_000,
  serveClient: false,
});
const { adapter } = io.of('/');
io.on('connection', admit);
await readSomething();
http.listen(0, '127.0.0.1', () => process.send({ port: http.address().port, uid: adapter.uid }));

/** What the two packages of the adapter log; each has its own copy of `debug`. */
function listenToAdapters() {
  const require = createRequire(import.meta.url);
  for (const [name, logs] of [['socket.io-adapter', 'socket.io-adapter'], ['@socket.io/redis-streams-adapter', 'socket.io-redis-streams-adapter']]) {
    const debug = createRequire(require.resolve(name))('debug');
    debug.enable(logs);
    debug.log = (...line) => {
      const text = stripVTControlCharacters(format(...line));
      hasRead ||= text.includes('reading entry');
      if (!EVERYDAY.test(text)) complaints.push(text);
    };
  }
}

/** Before its first entry the adapter misses what arrives between two reads (C-1), which no test can wait for. */
async function readSomething() {
  const other = redis.duplicate();
  while (!hasRead) {
    await other.xadd('socket.io', '*', 'uid', 'emitter', 'nsp', '/', 'type', '2');
    await delay(20);
  }
  other.disconnect();
}

function admit(socket) {
  const { token, clientType = 'user-scoped', sessionId, machineId } = socket.handshake.auth;
  const account = JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).sub;
  const rooms = {
    'user-scoped': [`user-scoped:${account}`],
    'session-scoped': [`session:${sessionId}`, `session:${sessionId}:${account}`],
    'machine-scoped': [`machine:${machineId}:${account}`],
  };
  socket.join([`user:${account}`, ...(rooms[clientType] ?? [])]);
  const held = new Set();
  const refresh = setInterval(() => {
    for (const method of held) void redis.eval(REFRESH_IF_HELD, 1, key(account, method), socket.id, Date.now(), instanceId, REGISTRATION_S);
  }, REFRESH_MS);
  const release = (method) => held.delete(method) && redis.eval(DELETE_IF_HELD, 1, key(account, method), socket.id);

  socket.on('ping', (answer) => answer({}));
  socket.on('rpc-register', async ({ method }) => {
    held.add(method);
    const entry = { instanceId, socketId: socket.id, updatedAt: String(Date.now()) };
    await redis.multi().hset(key(account, method), entry).expire(key(account, method), REGISTRATION_S).exec();
    socket.emit('rpc-registered', { method });
  });
  socket.on('rpc-unregister', async ({ method }) => {
    await release(method);
    socket.emit('rpc-unregistered', { method });
  });
  socket.on('rpc-call', async ({ method, params }, answer) => answer(await call(account, socket.id, method, params)));
  socket.on('disconnect', () => {
    clearInterval(refresh);
    for (const method of held) void Promise.resolve(release(method)).catch(() => {});
  });
}

const key = (account, method) => `rpc:${account}:${method}`;

/** As the reference calls: an acknowledged broadcast to the one socket that the registry names. */
async function call(account, caller, method, params) {
  const unavailable = { ok: false, error: 'RPC method not available', errorCode: 'RPC_METHOD_NOT_AVAILABLE' };
  const [target] = await redis.hmget(key(account, method), 'socketId');
  if (!target) return unavailable;
  if (target === caller) return { ok: false, error: 'Cannot call RPC on the same socket' };
  try {
    const answers = await io.to(target).timeout(CALL_TIMEOUT_MS).emitWithAck('rpc-request', { method, params });
    if (answers.length > 0) return { ok: true, result: answers[0] };
  } catch (error) {
    return { ok: false, error: error.message };
  }
  await redis.eval(DELETE_IF_HELD, 1, key(account, method), target);
  return unavailable;
}

const commands = {
  complaints: () => complaints,
  nodes: () => [...adapter.nodesMap.keys()],
  serverCount: () => io.of('/').adapter.serverCount(),
  /** Is in the stream when this is answered: the ping waits on the same connection. */
  async emit({ rooms = [], except = [], volatile = false, event, args = [] }) {
    const target = rooms.length + except.length > 0 ? io.to(rooms).except(except) : io;
    (volatile ? target.volatile : target).emit(event, ...args);
    await redis.ping();
  },
  async emitWithAck({ rooms, except = [], timeoutMs = CALL_TIMEOUT_MS, event, args = [] }) {
    try {
      return { answers: await io.to(rooms).except(except).timeout(timeoutMs).emitWithAck(event, ...args) };
    } catch (error) {
      return { error: error.message, answers: error.responses };
    }
  },
  fetchSockets: async () => (await io.fetchSockets()).map(({ id }) => id),
  serverSideEmit: ({ event, args = [] }) => io.serverSideEmit(event, ...args) && redis.ping(),
  socketsJoin: ({ rooms, join }) => io.in(rooms).socketsJoin(join) ?? redis.ping(),
  disconnectSockets: ({ rooms, close }) => io.in(rooms).disconnectSockets(close) ?? redis.ping(),
};

process.on('message', async ({ id, command, options }) => {
  try {
    process.send({ id, result: await commands[command](options) });
  } catch (error) {
    process.send({ id, error: error.stack });
  }
});
process.on('disconnect', () => process.exit(0)); // the test is over

// Type 13 must be the last word, so the connection to Redis ends orderly and after it.
process.on('SIGTERM', async () => {
  io.close();
  await redis.quit();
  process.exit(0);
});
