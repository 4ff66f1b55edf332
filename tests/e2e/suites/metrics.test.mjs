// The metrics page, read by a Prometheus parser: everything the contract names, and each counter moved by its cause.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { freePort } from '../lib/ports.mjs';
import { Page } from '../lib/prometheus.mjs';
import { Server, flavor } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const CORES = 4;

/** configuration.md §9.1, and ours. */
const EXPECTED = {
  websocket_connections_total: ['gauge', 'Number of active WebSocket connections'],
  session_alive_events_total: ['counter', 'Total number of session-alive events'],
  machine_alive_events_total: ['counter', 'Total number of machine-alive events'],
  session_cache_operations_total: ['counter', 'Total session cache operations'],
  database_updates_skipped_total: ['counter', 'Number of database updates skipped due to debouncing'],
  websocket_events_total: ['counter', 'Total WebSocket events received by type'],
  socket_message_ack_total: ['counter', 'Total socket message acknowledgements by result'],
  changes_requests_total: ['counter', 'Total /v2/changes requests by result'],
  changes_returned_changes_total: ['counter', 'Total number of changes entries returned by /v2/changes'],
  catchup_followup_fetches_total: ['counter', 'Total catch-up follow-up fetches by type'],
  catchup_followup_returned_total: ['counter', 'Total number of entities returned by catch-up follow-up fetches by type'],
  http_requests_total: ['counter', 'Total number of HTTP requests'],
  http_request_duration_seconds: ['histogram', 'HTTP request duration in seconds'],
  database_records_total: ['gauge', 'Total number of records in database tables'],
  happier_connections: ['gauge'],
  happier_outbox_bytes: ['gauge'],
  happier_mailbox_depth: ['gauge'],
  happier_slow_peer_disconnects_total: ['counter'],
  happier_turn_seconds: ['histogram'],
  happier_database_batch_size: ['histogram'],
  happier_io_driver: ['gauge'],
};

let server;
let base;
before(async () => {
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  server = await Server.start({ settings: { HAPPIER_CORES: String(CORES), METRICS_ENABLED: 'true', METRICS_PORT: String(port) } });
});
after(() => server.terminate());
afterEach(closeDevices);

const metrics = () => Page.get(base);

/** What `action` has added to each of these: `[name, labels]`. */
async function added(series, action) {
  const start = await metrics();
  await action();
  const end = await metrics();
  return series.map(([name, labels]) => end.value(name, labels) - start.value(name, labels));
}

test('every metric of the contract is there, with its type and its help', async () => {
  const page = await metrics();
  assert.deepEqual([page.status, page.contentType], [200, 'text/plain; version=0.0.4; charset=utf-8']);
  for (const [name, [type, help]] of Object.entries(EXPECTED)) {
    const family = page.family(name);
    assert.ok(family, name);
    assert.equal(family.type, type, name);
    if (help) assert.equal(family.help, help);
    assert.ok(family.help.length > 10, `${name} is explained`);
  }
  // A family whole and once, as the format demands.
  const heads = [...page.text.matchAll(/^# TYPE (\S+) /gm)].map((match) => match[1]);
  assert.equal(new Set(heads).size, heads.length);
  assert.ok(page.text.endsWith('\n') && !page.text.includes('\r'));
  const pool = ['open', 'busy', 'idle'].map((state) => page.family(`prisma_pool_connections_${state}`));
  if (flavor === 'full') assert.ok(page.text.startsWith('# HELP prisma_'), 'the database client comes first');
  for (const family of pool) assert.equal(family?.type, flavor === 'full' ? 'gauge' : undefined);
});

test('connections by class: admitted ones, for as long as they last', async () => {
  const account = await Account.login(server);
  const [session, machine] = [await account.session(), await account.machine()];
  const count = async () => {
    const page = await metrics();
    return ['user-scoped', 'session-scoped', 'machine-scoped'].map((type) => page.value('websocket_connections_total', { type }));
  };
  const transports = ['polling'];
  const devices = [account.device(), account.device({ transports }), account.device({ session }), account.device({ machine }),
    account.device({ machine, transports }), account.device({ machine, transports })];
  await Promise.all(devices.map((device) => device.ready()));
  const refused = account.device({ token: 'x' });
  await until(() => refused.errors.length === 1, 'refused');
  assert.deepEqual(await count(), [2, 1, 3]);
  const page = await metrics();
  assert.equal(page.series('happier_connections').length, CORES);
  assert.ok(page.value('happier_connections') >= devices.length - 3, 'websockets hold a connection each');
  assert.deepEqual(page.series('happier_io_driver').map((one) => one.value), [1]);
  closeDevices();
  await until(async () => (await count()).every((n) => n === 0), 'without connections');
  const gone = ['websocket_events_total', { event_type: 'disconnect' }];
  assert.equal((await metrics()).value(...gone) - page.value(...gone), devices.length);
});

test('events, acknowledgements, presence', async () => {
  const [account, stranger] = [await Account.login(server), await Account.login(server)];
  const session = await account.session();
  const machine = await account.machine();
  const [device, other] = await Promise.all([account.device().ready(), stranger.device().ready()]);
  const ack = (result, error) => ['socket_message_ack_total', { result, error }];
  const event = (type) => ['websocket_events_total', { event_type: type }];
  const messages = await added([ack('ok', 'none'), ack('error', 'invalid-params'), ack('error', 'forbidden'), ack('error', 'session-not-found'),
    ack('error', 'internal'), event('message'), ['happier_database_batch_size_count', {}]], async () => {
    await device.send(session, 'one', 'l');
    await device.send(session, 'one', 'l');
    await device.send(session, '');
    await other.send(session, 'x');
    await device.send('none', 'x');
    await device.send(session, 'half a pair: \ud800');
  });
  assert.deepEqual(messages.slice(0, 6), [2, 1, 1, 1, 1, 6]);
  assert.ok(messages[6] >= 1, 'commits');

  const cache = (operation, result) => ['session_cache_operations_total', { operation, result }];
  const skipped = (type) => ['database_updates_skipped_total', { type }];
  const shown = () => device.ephemerals.length;
  const presence = await added([['session_alive_events_total', {}], ['machine_alive_events_total', {}], event('session-alive'),
    event('machine-alive'), cache('session_validation', 'miss'), cache('session_validation', 'hit'), cache('machine_validation', 'miss'),
    cache('machine_validation', 'hit'), skipped('session'), skipped('machine')], async () => {
    for (let n = 0; n < 3; n++) {
      device.socket.emit('session-alive', { sid: session, time: Date.now() });
      device.socket.emit('machine-alive', { machineId: machine, time: Date.now() });
      await until(() => shown() === 2 * (n + 1), 'shown');
    }
    device.socket.emit('session-alive', { sid: session });
    await device.fence();
  });
  // The session's row is fresh from its creation; a machine is inactive at first, so its first report is written.
  assert.deepEqual(presence, [4, 3, 4, 3, 1, 2, 1, 2, 3, 2]);

  const id = crypto.randomUUID();
  const artifacts = await added(['artifact-create', 'artifact-read', 'artifact-update', 'artifact-delete'].map(event), async () => {
    await device.ask('artifact-create', { id, header: '', body: '', dataEncryptionKey: '' });
    await device.ask('artifact-read', { artifactId: id });
    await device.ask('artifact-update', {});
    await device.ask('artifact-delete', { artifactId: id });
    await device.ask('ping', {});
  });
  assert.deepEqual(artifacts, [1, 1, 1, 1]);
  const types = (await metrics()).series('websocket_events_total').map((one) => one.labels.event_type);
  assert.deepEqual(types.filter((type) => type === 'ping'), [], 'other events are not counted');
});

test('catching up, and requests by route', async () => {
  const account = await Account.login(server);
  const session = await account.session();
  for (let n = 0; n < 3; n++) await account.ask('POST', `/v2/sessions/${session}/messages`, { ciphertext: 'x' });
  const changes = (result) => ['changes_requests_total', { result }];
  const type = 'session-messages-afterSeq';
  const catching = await added([changes('ok'), changes('cursor-gone'), ['changes_returned_changes_total', {}],
    ['catchup_followup_fetches_total', { type }], ['catchup_followup_returned_total', { type }]], async () => {
    await account.ask('GET', '/v2/changes');
    assert.equal((await account.request('GET', '/v2/changes?after=999')).status, 410);
    await account.ask('GET', `/v1/sessions/${session}/messages?afterSeq=1`);
  });
  assert.deepEqual(catching, [1, 1, 1, 1, 2]);

  const request = (method, route, status) => ['http_requests_total', { method, route, status }];
  const timed = (method, route, status) => ['http_request_duration_seconds_count', { method, route, status }];
  const key = ['GET', '/v1/kv/:key', '404'];
  const requests = await added([request(...key), timed(...key), request('OPTIONS', '*', '400'), request('GET', 'unknown', '404')], async () => {
    await account.request('GET', '/v1/kv/none');
    await account.request('GET', '/v1/kv/none-either');
    await account.request('OPTIONS', '/v1/kv/none');
    await account.request('GET', '/made/up');
  });
  assert.deepEqual(requests, [2, 2, 1, 1]);
  const page = await metrics();
  const routes = page.series('http_requests_total').map((one) => one.labels.route);
  assert.ok(!routes.some((route) => route.startsWith('/v1/updates')), 'the realtime endpoint is no route');
  const [, labels] = request(...key);
  const buckets = page.series('http_request_duration_seconds_bucket', labels);
  assert.deepEqual(buckets.map((one) => one.labels.le), ['0.001', '0.005', '0.01', '0.05', '0.1', '0.5', '1', '5', '10', '+Inf']);
  const counts = buckets.map((one) => one.value);
  assert.ok(counts.every((count, n) => n === 0 || count >= counts[n - 1]), 'buckets add up');
  assert.equal(counts.at(-1), page.value(...timed(...key)));
  assert.ok(page.value('http_request_duration_seconds_sum', labels) > 0);
});

test('rows, connections to the database, and the other paths of the metrics port', async () => {
  await until(async () => (await metrics()).series('database_records_total').length === 4, 'counted');
  const tables = (await metrics()).series('database_records_total').map((one) => one.labels.table);
  assert.deepEqual(tables.toSorted(), ['accounts', 'machines', 'messages', 'sessions']);
  if (flavor === 'full') {
    const pool = (page) => ['open', 'busy', 'idle'].map((state) => page.value(`prisma_pool_connections_${state}`));
    await until(async () => {
      const [open, busy, idle] = pool(await metrics());
      return open > 0 && busy === 0 && idle === open;
    }, 'idle');
  }
  const health = await fetch(`${base}/health`);
  const { status, timestamp } = await health.json();
  assert.deepEqual([health.status, status], [200, 'ok']);
  assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 60_000);
  const unknown = await fetch(`${base}/x`);
  assert.deepEqual([unknown.status, await unknown.json()], [404, { message: 'Route GET:/x not found', error: 'Not Found', statusCode: 404 }]);
});
