// Devices of one account: who gets what, once and in order, whatever the transport.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Account, closeDevices } from '../lib/client.mjs';
import { Server } from '../lib/server.mjs';
import { until } from '../lib/wait.mjs';

const TRANSPORTS = [
  { name: 'websocket', transports: ['websocket'], ends: 'websocket' },
  { name: 'polling', transports: ['polling'], ends: 'polling' },
  { name: 'polling, then websocket', transports: ['polling', 'websocket'], ends: 'websocket' },
];

let server;
before(async () => {
  server = await Server.start();
});
after(() => server.terminate());
afterEach(closeDevices);

const numbered = (n, name = 'text') => Array.from({ length: n }, (_, i) => `${name} ${i + 1}`);

for (const { name, transports, ends } of TRANSPORTS) {
  describe(name, () => {
    test('connects, and events are answered', async () => {
      const account = await Account.login(server);
      const device = await account.device({ transports }).ready();
      assert.deepEqual(await device.fence(), {});
      await until(() => device.transport === ends, `on ${ends}`);
      assert.deepEqual(await device.fence(), {});
    });

    for (const [credentials, token] of [['no token', ''], ['a wrong token', 'nonsense'], ['a token that is no text', { admin: true }]]) {
      test(`${credentials}: told why and disconnected, without another attempt`, async () => {
        const account = await Account.login(server);
        const device = account.device({ transports, token, reconnection: true });
        await until(() => device.disconnects.length > 0, 'disconnected');
        const text = token === '' ? 'Missing authentication token' : 'Invalid authentication token';
        assert.deepEqual(device.errors, [{ message: text }]);
        assert.deepEqual(device.disconnects, ['io server disconnect']);
      });
    }

    test('messages of one device reach the others exactly once and in order', async () => {
      const account = await Account.login(server);
      const session = await account.session();
      const [phone, tablet, agent, sender] = [
        account.device({ transports }),
        account.device({ transports }),
        account.device({ transports, session }),
        account.device({ transports, session }),
      ];
      await Promise.all([phone, tablet, agent, sender].map((device) => device.ready()));
      const texts = numbered(60);
      const acks = await Promise.all(texts.map((text) => sender.send(session, text)));
      assert.deepEqual(acks.map((ack) => ack.seq), texts.map((_, i) => i + 1));
      await Promise.all([phone, tablet, agent].map((device) => until(() => device.texts.length >= texts.length, 'told of all')));
      await Promise.all([phone, tablet, agent, sender].map((device) => device.fence()));
      for (const device of [phone, tablet, agent]) assert.deepEqual(device.texts, texts);
      assert.deepEqual(sender.texts, [], 'the sender is not told of its own messages');
      const cursors = phone.updates.map((update) => update.seq);
      assert.ok(cursors.every((seq, i) => i === 0 || seq > cursors[i - 1]), `cursors rise: ${cursors}`);
      assert.deepEqual(tablet.updates, phone.updates, 'one encoding for all devices of the account');
    });

    test('another account hears nothing', async () => {
      const [account, stranger] = [await Account.login(server), await Account.login(server)];
      const session = await account.session();
      const listening = await stranger.device({ transports, session }).ready();
      const sender = await account.device({ transports }).ready();
      assert.equal((await sender.send(session, 'secret')).ok, true);
      await listening.fence();
      assert.deepEqual(listening.updates, []);
      assert.deepEqual(await listening.send(session, 'intruding'), { ok: false, error: 'forbidden' });
    });

    test('a message sent again with its local id is the same message', async () => {
      const account = await Account.login(server);
      const session = await account.session();
      const [sender, listener] = [await account.device({ transports }).ready(), await account.device({ transports }).ready()];
      const first = await sender.send(session, 'first', 'local-1');
      assert.equal(first.ok, true);
      assert.equal(first.localId, 'local-1');
      const path = `/v2/sessions/${session}/messages`;
      const again = await Promise.all([
        sender.send(session, 'first', 'local-1'),
        listener.send(session, 'something else', 'local-1'),
        account.ask('POST', path, { ciphertext: 'over HTTP', localId: 'local-1' }).then((answer) => answer.message),
        account.ask('POST', path, { ciphertext: 'over HTTP' }, { 'Idempotency-Key': 'local-1' }).then((answer) => answer.message),
      ]);
      for (const { id, seq, localId } of again) assert.deepEqual({ id, seq, localId }, { id: first.id, seq: first.seq, localId: 'local-1' });
      const second = await sender.send(session, 'second', 'local-2');
      assert.equal(second.seq, 2);
      await until(() => listener.texts.length >= 2, 'told of both');
      await listener.fence();
      assert.deepEqual(listener.texts, ['first', 'second']);
      assert.deepEqual((await account.messages(session)).map((m) => m.content.c), ['first', 'second']);
    });

    test('what cannot be stored is refused with its reason', async () => {
      const account = await Account.login(server);
      const device = await account.device({ transports }).ready();
      assert.deepEqual(await device.send('no-such-session', 'text'), { ok: false, error: 'session-not-found' });
      assert.deepEqual(await device.ask('message', { sid: 7, message: 'text' }), { ok: false, error: 'invalid-params' });
      assert.deepEqual(await device.ask('message', null), { ok: false, error: 'invalid-params' });
    });
  });
}

test('an upgrade neither loses, doubles nor reorders what is in flight in both directions', async () => {
  for (let round = 1; round <= 5; round++) {
    const account = await Account.login(server);
    const session = await account.session();
    const writer = await account.device().ready();
    const upgrading = account.device({ transports: ['polling', 'websocket'] });
    await until(() => upgrading.socket.connected, 'connected');
    const down = numbered(100, 'down');
    const up = numbered(100, 'up');
    const writes = Promise.all(down.map((text) => writer.send(session, text)));
    const acks = [];
    for (const text of up) acks.push(await upgrading.send(session, text));
    await writes;
    await until(() => upgrading.transport === 'websocket', 'upgraded');
    assert.ok(acks.every((ack) => ack.ok));
    await until(() => upgrading.texts.length >= down.length && writer.texts.length >= up.length, 'told of all');
    await Promise.all([upgrading.fence(), writer.fence()]);
    assert.deepEqual(upgrading.texts, down);
    assert.deepEqual(writer.texts, up);
    assert.equal((await account.messages(session)).length, down.length + up.length);
    upgrading.close();
    writer.close();
  }
});

test('twenty sockets write ten messages each into one session: all acknowledged, no gap', async () => {
  const account = await Account.login(server);
  const session = await account.session();
  const devices = await Promise.all(Array.from({ length: 20 }, () => account.device().ready()));
  const acks = await Promise.all(devices.flatMap((device, d) => numbered(10, `socket ${d}`).map((text) => device.send(session, text, text))));
  assert.equal(acks.filter((ack) => ack.ok).length, 200, JSON.stringify(acks.find((ack) => !ack.ok)));
  const expected = Array.from({ length: 200 }, (_, i) => i + 1);
  assert.deepEqual(acks.map((ack) => ack.seq).sort((a, b) => a - b), expected);
  const stored = await account.messages(session);
  assert.deepEqual(stored.map((m) => m.seq), expected);
  const bySeq = new Map(stored.map((m) => [m.seq, m.id]));
  for (const ack of acks) assert.equal(bySeq.get(ack.seq), ack.id);
  // Nobody hears its own ten; everybody hears the other 190, in the order of the account's cursors.
  await Promise.all(devices.map((device) => until(() => device.texts.length >= 190, 'told of all')));
  await Promise.all(devices.map((device) => device.fence()));
  for (const device of devices) {
    const cursors = device.updates.map((update) => update.seq);
    assert.equal(new Set(cursors).size, 190);
    assert.deepEqual(cursors, [...cursors].sort((a, b) => a - b));
  }
  const { cursor } = await account.ask('GET', '/v2/cursor');
  assert.equal(cursor, Math.max(...devices.flatMap((device) => device.updates.map((update) => update.seq))));
});
