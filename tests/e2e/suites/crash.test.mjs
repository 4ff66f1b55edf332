// Nothing acknowledged is lost: the server, or its Postgres, dies at random moments while many write.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Postgres } from '../lib/postgres.mjs';
import { generator, seed } from '../lib/random.mjs';
import { Server, flavor } from '../lib/server.mjs';
import { delay, until } from '../lib/wait.mjs';

const ROUNDS = 5;
const SESSIONS = 3;
const SOCKETS = 5;
const POSTERS = 3;
const IN_FLIGHT = 4; // per socket
const WRITE_MS = { least: 150, most: 1_200 };
const ACK_TIMEOUT_MS = 4_000;

afterEach(closeDevices);

/** What the writers sent and what they were told. */
class Ledger {
  constructor(sessions) {
    this.sessions = sessions;
    this.sent = new Map(); // local id → session
    this.acknowledged = new Map(); // local id → { id, seq }
    this.refused = [];
    this.writing = true;
    this.next = 0;
  }

  /** Another message to write: a new one, with a local id of its own. */
  draw(random) {
    const localId = `local-${this.next++}`;
    const session = this.sessions[Math.floor(random() * this.sessions.length)];
    this.sent.set(localId, session);
    return { localId, session };
  }

  told(localId, { id, seq }) {
    const before = this.acknowledged.get(localId);
    if (before) assert.deepEqual({ id, seq }, before, `${localId} was acknowledged twice, differently`);
    this.acknowledged.set(localId, { id, seq });
  }
}

async function socketWriter(device, ledger, random) {
  while (ledger.writing) {
    const { localId, session } = ledger.draw(random);
    try {
      const ack = await device.send(session, `text of ${localId}`, localId, ACK_TIMEOUT_MS);
      if (ack.ok) ledger.told(localId, ack);
      else ledger.refused.push(ack.error);
    } catch {
      if (!device.socket.connected) await delay(20); // lost: the connection is gone, its acks with it
    }
  }
}

async function poster(account, ledger, random) {
  while (ledger.writing) {
    const { localId, session } = ledger.draw(random);
    try {
      const body = { ciphertext: `text of ${localId}`, localId };
      const answer = await account.request('POST', `/v2/sessions/${session}/messages`, body);
      if (answer.status === 200) ledger.told(localId, answer.body.message);
      else ledger.refused.push(answer.status);
    } catch {
      await delay(20);
    }
  }
}

/** Many writers at once; `disturb` happens meanwhile. Returns when the last one has stopped. */
async function writeWhile(account, ledger, random, disturb) {
  const before = ledger.acknowledged.size;
  const devices = await Promise.all(Array.from({ length: SOCKETS }, () => account.device({ reconnection: true }).ready()));
  ledger.writing = true;
  const writers = [
    ...devices.flatMap((device) => Array.from({ length: IN_FLIGHT }, () => socketWriter(device, ledger, random))),
    ...Array.from({ length: POSTERS }, () => poster(account, ledger, random)),
  ];
  await until(() => ledger.acknowledged.size > before, 'a first acknowledgement');
  await delay(WRITE_MS.least + random() * (WRITE_MS.most - WRITE_MS.least));
  await disturb();
  ledger.writing = false;
  devices.forEach((device) => device.close());
  await Promise.all(writers);
}

/** Every acknowledged message is there exactly once and as acknowledged; sequences have no gap. */
async function verify(account, ledger) {
  const { changes } = await account.ask('GET', '/v2/changes?limit=500');
  for (const session of ledger.sessions) {
    const stored = await account.messages(session);
    assert.deepEqual(stored.map((m) => m.seq), stored.map((_, i) => i + 1), 'the sequence has no gap');
    const byLocalId = new Map(stored.map((m) => [m.localId, m]));
    assert.equal(byLocalId.size, stored.length, 'no local id twice');
    for (const [localId, { id, seq }] of ledger.acknowledged) {
      if (ledger.sent.get(localId) !== session) continue;
      const message = byLocalId.get(localId);
      assert.ok(message, `${localId} was acknowledged as ${id}, number ${seq}, and is lost`);
      assert.deepEqual({ id: message.id, seq: message.seq }, { id, seq });
      assert.equal(message.content.c, `text of ${localId}`);
    }
    for (const { localId } of stored) assert.equal(ledger.sent.get(localId), session, `${localId} was sent to this session`);
    assert.equal((await account.ask('GET', `/v2/sessions/${session}`)).session.seq, stored.length, 'the session counts its messages');
    if (stored.length === 0) continue;
    const { hint } = changes.find((change) => change.kind === 'session' && change.entityId === session);
    assert.deepEqual(hint, { lastMessageSeq: stored.length, lastMessageId: stored.at(-1).id }, 'the change feed names the last message');
  }
}

/** Clients send again what was not acknowledged: it is stored once, whether it had been stored or not. */
async function sendAgain(account, ledger) {
  const lost = [...ledger.sent].filter(([localId]) => !ledger.acknowledged.has(localId));
  const device = await account.device().ready();
  for (const [localId, session] of lost) {
    const ack = await device.send(session, `text of ${localId}`, localId);
    assert.equal(ack.ok, true, JSON.stringify(ack));
    ledger.told(localId, ack);
  }
  device.close();
  assert.equal(ledger.acknowledged.size, ledger.sent.size);
}

async function prepare(server) {
  const account = await Account.login(server);
  const sessions = await Promise.all(Array.from({ length: SESSIONS }, () => account.session()));
  return { account, ledger: new Ledger(sessions) };
}

test(`kill -9 of the server while many write (seed ${seed})`, async (t) => {
  const random = generator();
  const server = await Server.start();
  try {
    const { account, ledger } = await prepare(server);
    for (let round = 1; round <= ROUNDS; round++) {
      await writeWhile(account, ledger, random, () => server.kill());
      await server.resume();
      await verify(account, ledger);
      await sendAgain(account, ledger);
      await verify(account, ledger);
    }
    assert.deepEqual(ledger.refused, [], 'until the end nothing is refused');
    t.diagnostic(`seed ${seed}: ${ledger.acknowledged.size} messages in ${ROUNDS} rounds`);
  } finally {
    await server.kill();
  }
});

test(`kill -9 of the server during its very first writes (seed ${seed})`, async () => {
  const random = generator(seed + 1);
  for (let round = 1; round <= 3; round++) {
    const server = await Server.start();
    await Promise.all([Account.login(server).catch(() => {}), delay(random() * 30).then(() => server.kill())]);
    await server.resume();
    const { account, ledger } = await prepare(server);
    await verify(account, ledger);
    await server.kill();
  }
});

if (flavor === 'full') {
  test(`Postgres dies at once and comes back while many write (seed ${seed})`, async (t) => {
    const random = generator(seed + 2);
    const postgres = await Postgres.create();
    const server = await Server.start({ postgres });
    try {
      const { account, ledger } = await prepare(server);
      for (let round = 1; round <= 3; round++) {
        await writeWhile(account, ledger, random, async () => {
          await postgres.stop('immediate');
          await delay(random() * 500);
          await postgres.start();
          const before = ledger.acknowledged.size;
          await until(() => ledger.acknowledged.size > before, 'writing again');
        });
        assert.ok(server.alive, 'the server outlives its database');
        await until(async () => (await account.request('GET', '/health')).status === 200, 'healthy again');
        await verify(account, ledger);
        await sendAgain(account, ledger);
        await verify(account, ledger);
      }
      t.diagnostic(`seed ${seed}: ${ledger.acknowledged.size} messages, ${ledger.refused.length} refused while Postgres was away`);
      assert.equal((await server.terminate()).code, 0);
    } finally {
      if (server.alive) await server.kill();
      await postgres.remove();
    }
  });

  test('without its Postgres the server answers 503 on /health and is well again afterwards', async () => {
    const postgres = await Postgres.create();
    const server = await Server.start({ postgres });
    try {
      const account = await Account.login(server);
      await postgres.stop('immediate');
      const ill = await account.request('GET', '/health');
      assert.equal(ill.status, 503);
      assert.equal(ill.body.error, 'Database connectivity failed');
      await postgres.start();
      await until(async () => (await account.request('GET', '/health')).status === 200, 'healthy again');
      assert.equal((await account.messages(await account.session())).length, 0);
    } finally {
      await server.kill();
      await postgres.remove();
    }
  });
}
